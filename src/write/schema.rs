//! The tables as `schemas/` tells them: the contract with outside readers, parsed once.

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use serde::Deserialize;
use std::sync::{Arc, LazyLock};

/// A table of the output, from its file in `schemas/`.
#[derive(Debug)]
pub struct Table {
    pub name: String,
    pub version: u32,
    pub description: String,
    pub partition: Option<String>,
    pub sort: Vec<String>,
    pub columns: Vec<Column>,
    /// What a reader sees: every column, the partition included, plain types.
    pub reader_schema: SchemaRef,
    /// What a data file holds: without the partition, dictionaries where they are asked for.
    pub file_schema: SchemaRef,
    /// The text of the schema file.
    pub source: &'static str,
}

/// One column as the schema file tells it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub nullable: bool,
    #[serde(default)]
    pub dictionary: bool,
    pub description: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableFile {
    table: String,
    version: u32,
    description: String,
    partition: Option<String>,
    sort: Vec<String>,
    columns: Vec<Column>,
}

pub static LIVENESS_DETAIL: LazyLock<Table> =
    LazyLock::new(|| Table::parse(include_str!("../../schemas/liveness_detail.v1.json")));
pub static DAILY_CHARGE: LazyLock<Table> =
    LazyLock::new(|| Table::parse(include_str!("../../schemas/daily_charge.v1.json")));
pub static REJECTS: LazyLock<Table> =
    LazyLock::new(|| Table::parse(include_str!("../../schemas/rejects.v1.json")));
pub static INPUTS: LazyLock<Table> =
    LazyLock::new(|| Table::parse(include_str!("../../schemas/inputs.v1.json")));

pub static BILL_LINE: LazyLock<Table> =
    LazyLock::new(|| Table::parse(include_str!("../../schemas/bill_line.v1.json")));

pub static RECONCILIATION: LazyLock<Table> =
    LazyLock::new(|| Table::parse(include_str!("../../schemas/reconciliation.v1.json")));
pub static SEQ_DIFFERENCE: LazyLock<Table> =
    LazyLock::new(|| Table::parse(include_str!("../../schemas/seq_difference.v1.json")));

/// Every table: those of a run in commit order, then those of a reconciliation.
pub fn tables() -> Vec<&'static Table> {
    vec![
        &LIVENESS_DETAIL,
        &REJECTS,
        &DAILY_CHARGE,
        &INPUTS,
        &BILL_LINE,
        &RECONCILIATION,
        &SEQ_DIFFERENCE,
    ]
}

impl Table {
    /// The files are compiled in: one that does not parse is our bug, and the first test meets it.
    fn parse(source: &'static str) -> Table {
        let file: TableFile = serde_json::from_str(source).expect("a schema file that parses");
        let field = |c: &Column, dictionaries: bool| {
            let plain = data_type(&c.kind).expect("a column type that this room knows");
            let kind = match dictionaries && c.dictionary {
                true => DataType::Dictionary(Box::new(DataType::Int32), Box::new(plain)),
                false => plain,
            };
            Field::new(&c.name, kind, c.nullable)
        };
        let reader: Vec<Field> = file.columns.iter().map(|c| field(c, false)).collect();
        let stored: Vec<Field> = file
            .columns
            .iter()
            .filter(|c| Some(&c.name) != file.partition.as_ref())
            .map(|c| field(c, true))
            .collect();
        Table {
            name: file.table,
            version: file.version,
            description: file.description,
            partition: file.partition,
            sort: file.sort,
            columns: file.columns,
            reader_schema: Arc::new(Schema::new(reader)),
            file_schema: Arc::new(Schema::new(stored)),
            source,
        }
    }

    /// Place of a column in the data files.
    pub fn position(&self, column: &str) -> usize {
        self.file_schema.index_of(column).expect("a column of the schema file")
    }
}

/// The Arrow type of a type name as schema files use it.
pub fn data_type(kind: &str) -> Option<DataType> {
    Some(match kind {
        "date32" => DataType::Date32,
        "timestamp_ms_utc" => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        "utf8" => DataType::Utf8,
        "bool" => DataType::Boolean,
        "int8" => DataType::Int8,
        "int32" => DataType::Int32,
        "int64" => DataType::Int64,
        "decimal(5,2)" => DataType::Decimal128(5, 2),
        "decimal(38,8)" => DataType::Decimal128(38, 8),
        "list<pull>" => DataType::List(pull_field()),
        "list<utf8>" => DataType::List(Arc::new(text_element())),
        _ => return None,
    })
}

/// An element of a list of texts, by the name that Parquet gives elements of lists.
pub fn text_element() -> Field {
    Field::new("element", DataType::Utf8, false)
}

/// An element of `earlier_pulls`.
pub fn pull_field() -> FieldRef {
    static PULL: LazyLock<FieldRef> = LazyLock::new(|| {
        let part = |name, kind, nullable| {
            Field::new(name, data_type(kind).expect("a type of this room"), nullable)
        };
        let parts = vec![
            part("fetched_at", "timestamp_ms_utc", false),
            part("is_need_charge", "bool", true),
            part("snapshot_final", "bool", true),
            part("errcode", "int32", true),
        ];
        Arc::new(Field::new(text_element().name(), DataType::Struct(parts.into()), false))
    });
    PULL.clone()
}
