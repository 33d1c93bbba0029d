//! What stands in the files: the schema files against the Parquet as written, and what readers rely on.

use crate::world::{Object, PLAIN_PIPELINE, SOME_TIME, World, attempt, result};
use arrow::array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ConvertedType, LogicalType, Repetition, TimeUnit, Type};
use parquet::file::properties::ReaderProperties;
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

fn schema_file(table: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/{table}.v1.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A column as the schema files name types, read off a Parquet column.
fn kind(column: &parquet::schema::types::ColumnDescriptor) -> String {
    let logical = column.logical_type_ref();
    match (column.physical_type(), logical, column.converted_type()) {
        (Type::INT32, Some(LogicalType::Date), _) => "date32".into(),
        (Type::INT64, Some(LogicalType::Timestamp(t)), _)
            if t.is_adjusted_to_u_t_c && t.unit == TimeUnit::MILLIS =>
        {
            "timestamp_ms_utc".into()
        }
        (Type::BYTE_ARRAY, Some(LogicalType::String), ConvertedType::UTF8) => "utf8".into(),
        (Type::BOOLEAN, None, _) => "bool".into(),
        (Type::INT32, Some(LogicalType::Integer(i)), _) if i.bit_width == 8 && i.is_signed => {
            "int8".into()
        }
        (Type::INT32, None, _) => "int32".into(),
        (Type::INT64, None, _) => "int64".into(),
        (Type::INT32, Some(LogicalType::Decimal(d)), _) => {
            format!("decimal({},{})", d.precision, d.scale)
        }
        other => format!("{other:?}"),
    }
}

/// The Parquet columns of a column: one, but for a list of pulls.
fn leaves((name, kind, nullable): (String, String, bool)) -> Vec<(String, String, bool)> {
    if kind == "list<utf8>" {
        return vec![("element".to_owned(), "utf8".to_owned(), false)];
    }
    if kind != "list<pull>" {
        return vec![(name, kind, nullable)];
    }
    let parts = [
        ("fetched_at", "timestamp_ms_utc", false),
        ("is_need_charge", "bool", true),
        ("snapshot_final", "bool", true),
        ("errcode", "int32", true),
    ];
    parts.map(|(name, kind, nullable)| (name.to_owned(), kind.to_owned(), nullable)).to_vec()
}

#[test]
fn files_are_what_the_schema_files_say() {
    let world = World::new(PLAIN_PIPELINE);
    let attempts =
        (0..1000).map(|i| attempt(&format!("seq-{i}"), 1_730_444_265_275 + i, Some(i % 3 == 0)));
    world.put(&Object::new("a.json", result(attempts.collect()).to_string(), SOME_TIME));
    world.put(&Object::new("b.json", "{,}", SOME_TIME));
    world.run(&[]);
    for table in ["liveness_detail", "daily_charge", "rejects", "inputs"] {
        let schema = schema_file(table);
        let partition = schema["partition"].as_str();
        let expected: Vec<(String, String, bool)> = schema["columns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| {
                let text = |key: &str| c[key].as_str().unwrap().to_owned();
                (text("name"), text("type"), c["nullable"].as_bool().unwrap())
            })
            .filter(|(name, _, _)| Some(name.as_str()) != partition)
            .flat_map(leaves)
            .collect();
        let stored = world.table(table);
        assert_eq!(stored.stored().len(), 1, "{table}: one day, one file");
        for file in stored.stored() {
            let path = world.path("out").join(table).join(&file);
            let options = ReadOptionsBuilder::new()
                .with_page_index()
                .with_reader_properties(
                    ReaderProperties::builder().set_read_bloom_filter(true).build(),
                )
                .build();
            let reader =
                SerializedFileReader::new_with_options(std::fs::File::open(path).unwrap(), options)
                    .unwrap();
            let metadata = reader.metadata();
            let descriptor = metadata.file_metadata().schema_descr();
            let found: Vec<(String, String, bool)> = descriptor
                .columns()
                .iter()
                .map(|c| {
                    let nullable =
                        c.self_type().get_basic_info().repetition() == Repetition::OPTIONAL;
                    (c.name().to_owned(), kind(c), nullable)
                })
                .collect();
            assert_eq!(found, expected, "{table}");
            assert!(
                metadata.offset_index().is_some() && metadata.column_index().is_some(),
                "page index"
            );
            let facts: BTreeMap<String, String> = metadata
                .file_metadata()
                .key_value_metadata()
                .unwrap()
                .iter()
                .map(|kv| (kv.key.clone(), kv.value.clone().unwrap_or_default()))
                .collect();
            assert_eq!(facts["faceledger.schema_version"], "1");
            assert_eq!(facts["faceledger.time_zone"], "+08:00");
            assert!(!facts.contains_key("ARROW:schema"), "plain types for every reader");
            if table == "liveness_detail" {
                // 0, 3, … 999 are charged.
                let counts = ["rows", "charged", "free", "unknown"]
                    .map(|n| facts[&format!("faceledger.{n}")].clone());
                assert_eq!(counts, ["1000", "334", "666", "0"]);
            }
            for group in metadata.row_groups() {
                assert!(group.num_rows() <= 131_072);
                for column in group.columns() {
                    let name = column.column_path().parts()[0].as_str();
                    assert!(matches!(column.compression(), Compression::ZSTD(_)), "{name}");
                    let told = schema["columns"].as_array().unwrap().iter();
                    let told = told.clone().find(|c| c["name"] == name).unwrap();
                    if told["dictionary"] == true {
                        let dictionary = column.dictionary_page_offset().is_some();
                        assert!(dictionary, "{table}.{name}: a dictionary");
                    }
                }
                if table == "liveness_detail" {
                    let seq = reader.get_row_group(0).unwrap();
                    let bloom = seq.get_column_bloom_filter(2).expect("a bloom filter on seq");
                    assert!(bloom.check(&"seq-500"));
                    assert!((0..1000).filter(|i| bloom.check(&*format!("other-{i}"))).count() < 50);
                    assert!(
                        group.columns()[2].dictionary_page_offset().is_none(),
                        "ids have no dictionary"
                    );
                    let sorting = group.sorting_columns().unwrap();
                    let by: Vec<&str> =
                        sorting.iter().map(|s| found[s.column_idx as usize].0.as_str()).collect();
                    assert_eq!(by, ["req_time", "seq"]);
                }
            }
        }
    }
}

#[test]
fn nothing_to_write_is_no_file() {
    let world = World::new(PLAIN_PIPELINE);
    world.put(&Object::new("a.json", r#"{"Response":{"Text":{"LivenessDetail":[]}}}"#, SOME_TIME));
    world.run(&[]);
    for table in ["liveness_detail", "daily_charge", "rejects"] {
        assert!(world.table(table).stored().is_empty(), "{table}");
    }
    assert_eq!(world.table("inputs").rows().len(), 1);
}

/// Makes a table what an earlier version wrote, which did not know of a column.
fn without_column(world: &World, table: &str, column: &str) {
    let table = world.table(table);
    let mut sizes = BTreeMap::new();
    for path in table.files.keys() {
        let file = table.folder.join(path);
        let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&file).unwrap());
        let batches: Vec<RecordBatch> =
            reader.unwrap().build().unwrap().map(Result::unwrap).collect();
        let mut old = Vec::new();
        let kept = |batch: &RecordBatch| {
            let schema = batch.schema();
            let names = schema.fields().iter().map(|field| field.name().as_str());
            let places = names.enumerate().filter(|(_, name)| *name != column);
            batch.project(&places.map(|(place, _)| place).collect::<Vec<_>>()).unwrap()
        };
        let mut writer = ArrowWriter::try_new(&mut old, kept(&batches[0]).schema(), None).unwrap();
        batches.iter().for_each(|batch| writer.write(&kept(batch)).unwrap());
        writer.close().unwrap();
        sizes.insert(path.clone(), old.len());
        std::fs::write(file, old).unwrap();
    }
    let log = table.folder.join("_delta_log/00000000000000000000.json");
    let text = std::fs::read_to_string(&log).unwrap();
    let lines = text.lines().map(|line| {
        let mut action: Value = serde_json::from_str(line).unwrap();
        if let Some(metadata) = action.get_mut("metaData") {
            let mut schema: Value =
                serde_json::from_str(metadata["schemaString"].as_str().unwrap()).unwrap();
            schema["fields"].as_array_mut().unwrap().retain(|field| field["name"] != column);
            metadata["schemaString"] = Value::from(schema.to_string());
        }
        if let Some(add) = action.get_mut("add") {
            add["size"] = Value::from(sizes[add["path"].as_str().unwrap()]);
        }
        action.to_string()
    });
    std::fs::write(log, lines.collect::<Vec<_>>().join("\n")).unwrap();
}

#[test]
fn rejects_from_before_their_seqs_are_read_and_written_on() {
    let world = World::new(PLAIN_PIPELINE);
    let cut = |seq: &str| format!(r#"{{"LivenessDetail":[{{"Seq":"{seq}","#);
    world.put(&Object::new("1.json", cut("a"), SOME_TIME));
    world.run(&[]);
    without_column(&world, "rejects", "seqs");
    world.put(&Object::new("2.json", cut("b"), SOME_TIME));
    world.run(&[]);
    world.faceledger(&["compact", "pipeline.toml"]).exits(0);
    let listed = world.faceledger(&["rejects", "pipeline.toml", "--json"]).exits(0).json();
    let listed = listed.as_array().expect("rejects").iter();
    let told: Vec<_> = listed.map(|row| (row["source_key"].clone(), row["seqs"].clone())).collect();
    assert_eq!(
        told,
        [("1.json".into(), Value::Array(vec![])), ("2.json".into(), vec!["b"].into())]
    );
    // What was set aside before tells its Seqs once it has been read again.
    world.faceledger(&["rejects", "pipeline.toml", "--retry"]).exits(0);
    let rows = world.table("rejects").rows();
    let told: Vec<_> = rows.iter().map(|row| row["seqs"].clone()).collect();
    assert_eq!(told, [vec!["a"].into(), Value::from(vec!["b"])]);
}

/// A column that may be null and came later is no reason to load everything anew.
#[test]
fn tables_from_before_a_column_are_read_and_written_on() {
    let envelope = "[source.envelope]\nresponse = \"/r\"\nfetched_at = \"/t\"\n[output]";
    let pipeline = PLAIN_PIPELINE.replace("[output]", envelope);
    let world = World::new(&pipeline);
    let pull = |time: i64, seqs: &[(&str, i64)], flag| {
        let attempts = seqs.iter().map(|(seq, at)| attempt(seq, *at, flag)).collect();
        serde_json::json!({ "t": time, "r": result(attempts) }).to_string()
    };
    let (first, next) = (1_730_444_265_275, 1_730_444_265_275 + 86_400_000);
    let seqs = [("a", first), ("b", first), ("c", next)];
    world.put(&Object::new("1.json", pull(next + 1_000, &seqs, None), SOME_TIME));
    world.run(&[]);
    without_column(&world, "liveness_detail", "earlier_pulls");
    // One of them again, with another answer: only its day is written anew.
    world.put(&Object::new("2.json", pull(next + 2_000, &seqs[..1], Some(true)), SOME_TIME));
    let ran = world.run(&[]);
    assert_eq!(ran.tally("details_changed"), 1);
    // That is all that is wrong: the test wrote the file of the second day under the name it had.
    let told = world.faceledger(&["verify", "pipeline.toml"]).exits(5).stdout;
    let broken: Vec<&str> = told.lines().filter(|line| line.starts_with("BROKEN")).collect();
    assert_eq!(broken.len(), 1, "{told}");
    assert!(broken[0].contains("2024-11-02") && broken[0].contains("what its name says"), "{told}");
    let rows = world.table("liveness_detail").rows();
    let told: Vec<_> = rows.iter().map(|row| row.get("earlier_pulls").cloned()).collect();
    let earlier = serde_json::json!([{
        "fetched_at": next + 1_000, "is_need_charge": null, "snapshot_final": true, "errcode": 0,
    }]);
    assert_eq!(told, [Some(earlier), Some(Value::Null), None], "a, b, and c as it was stored");
    let log = world.path("out/liveness_detail/_delta_log/00000000000000000001.json");
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.lines().any(|line| line.contains("metaData") && line.contains("earlier_pulls")));
    // Rows of before tell of no pulls to the run that makes their day anew.
    world.run(&["--full-refresh", "--from", "2024-11-02", "--to", "2024-11-02"]);
    assert_eq!(world.table("liveness_detail").rows().len(), 3);
    // Everything in one load, elsewhere, is the same.
    let clean = World::new(&pipeline);
    clean.put(&Object::new("1.json", pull(next + 1_000, &seqs, None), SOME_TIME));
    clean.put(&Object::new("2.json", pull(next + 2_000, &seqs[..1], Some(true)), SOME_TIME));
    clean.run(&[]);
    world.run(&["--full-refresh"]);
    assert_eq!(
        clean.table("liveness_detail").contents(),
        world.table("liveness_detail").contents()
    );
}
