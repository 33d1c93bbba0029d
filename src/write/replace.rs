//! Whole partitions of a small table, put in the place of what they were.
//!
//! Takes rows of some partitions in any order; gives one commit. The same rows make the same files, and files that are
//! there already make no commit.

use super::parquet::{Encoder, FILE_ROWS_MAX, ROW_GROUP_ROWS_MAX};
use super::schema::Table;
use super::{Commit, OpenTable, Staged, WriteError, Writer};
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::compute::{
    SortColumn, SortOptions, concat_batches, lexsort_to_indices, take_record_batch,
};
use std::sync::Arc;

/// Replaces the files of the partitions named (`2024-11`) by files of these rows, batches of the table's file schema in
/// any order; no rows leave none. Other partitions stay. For a table without a partition the name says nothing. One
/// commit, or none where the table holds just that already. Only the one writer of the output may call it.
pub fn replace_partitions(
    open: &mut OpenTable,
    partitions: Vec<(String, Vec<RecordBatch>)>,
    writer: &Writer,
) -> Result<Commit, WriteError> {
    let table = open.table;
    let mut staged = Vec::new();
    let mut remove = Vec::new();
    for (partition, batches) in partitions {
        let partition = table.partition.is_some().then_some(partition.as_str());
        remove.extend(open.files_of(partition).iter().map(|f| f.path.clone()));
        let rows = sorted(table, &batches)?;
        drop(batches);
        for from in (0..rows.num_rows()).step_by(FILE_ROWS_MAX) {
            let part = rows.slice(from, FILE_ROWS_MAX.min(rows.num_rows() - from));
            staged.push(stage(open, partition, &part)?);
        }
    }
    open.commit(staged, remove, writer)
}

/// One batch in the table's order, nulls last; rows that it does not tell apart stay as they came.
fn sorted(table: &Table, batches: &[RecordBatch]) -> Result<RecordBatch, WriteError> {
    let rows = concat_batches(&table.file_schema, batches)?;
    let by = |values: ArrayRef| SortColumn {
        values,
        options: Some(SortOptions { descending: false, nulls_first: false }),
    };
    let mut columns: Vec<SortColumn> =
        table.sort.iter().map(|name| by(rows.column(table.position(name)).clone())).collect();
    columns.push(by(Arc::new(Int64Array::from_iter_values(0..rows.num_rows() as i64))));
    Ok(take_record_batch(&rows, &lexsort_to_indices(&columns, None)?)?)
}

fn stage(
    table: &OpenTable,
    partition: Option<&str>,
    rows: &RecordBatch,
) -> Result<Staged, WriteError> {
    let mut encoder = Encoder::new(table.table)?;
    for from in (0..rows.num_rows()).step_by(ROW_GROUP_ROWS_MAX) {
        encoder.write(&rows.slice(from, ROW_GROUP_ROWS_MAX.min(rows.num_rows() - from)))?;
    }
    let encoded = encoder.finish(&vec![("faceledger.rows", rows.num_rows().to_string())])?;
    table.stage(partition, encoded, serde_json::json!({ "numRecords": rows.num_rows() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Amount, BillLine, LineKind, UsageDay, UsageMonth};
    use crate::storage::Place;
    use crate::write::schema::BILL_LINE;
    use crate::write::small::bill_line_batch;
    use arrow::array::{Array, AsArray, Decimal128Array, StringArray};
    use arrow::compute::cast;
    use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Int64Type};

    fn place(name: &str) -> Place {
        Place::open(&format!("memory://{name}"), &Default::default()).expect("memory")
    }

    fn writer(txn: i64) -> Writer {
        Writer { run_id: format!("run-{txn}"), txn, retain_ms: 0, now_ms: 1_730_444_265_275 }
    }

    fn line(row: i64, day: &str, cost: &str) -> BillLine {
        BillLine {
            bill_month: UsageMonth::parse("2024-11"),
            account: "100001".into(),
            usage_from: UsageDay::parse(day),
            kind: Some(LineKind::Usage),
            billing_tag: "unmapped".into(),
            billing_tag_code: "unmapped".into(),
            product_name: Some("E证通（权威库）".into()),
            line_id: (row % 2 == 0).then(|| format!("id-{row}")),
            pay_time: Some(1_730_444_265_000),
            cost: Some(Amount::parse(cost).expect("an amount")),
            voucher: (row == 3).then(|| Amount::parse("-0.00000001").expect("an amount")),
            source_file: "bill.csv".into(),
            source_row: row,
            ..BillLine::default()
        }
    }

    /// Row, day, cost, voucher, id and product of lines.
    type Facts = (i64, i32, Option<i128>, Option<i128>, Option<String>, Option<String>);

    fn stored(output: &Place, month: &str) -> Vec<Facts> {
        let table = OpenTable::open(output, &BILL_LINE).expect("opens");
        let files: Vec<_> = table.files_of(Some(month)).into_iter().cloned().collect();
        let batches = files.iter().flat_map(|file| table.read(file, None).expect("reads"));
        let facts = |batch: RecordBatch| {
            let column = |name| batch.column_by_name(name).expect("a column").clone();
            let rows = column("source_row").as_primitive::<Int64Type>().clone();
            let days = column("usage_from").as_primitive::<Date32Type>().clone();
            let [cost, voucher] =
                ["cost", "voucher"].map(|n| column(n).as_primitive::<Decimal128Type>().clone());
            let [id, product] = ["line_id", "product_name"].map(|name| {
                let texts = cast(&column(name), &DataType::Utf8).expect("texts");
                texts.as_string::<i32>().clone()
            });
            let amount = |a: &Decimal128Array, row| a.is_valid(row).then(|| a.value(row));
            let text = |t: &StringArray, row| t.is_valid(row).then(|| t.value(row).to_owned());
            let each = (0..batch.num_rows()).map(|row| {
                let amounts = (amount(&cost, row), amount(&voucher, row));
                let texts = (text(&id, row), text(&product, row));
                (rows.value(row), days.value(row), amounts.0, amounts.1, texts.0, texts.1)
            });
            each.collect::<Vec<_>>()
        };
        batches.flat_map(facts).collect()
    }

    fn facts(line: &BillLine) -> Facts {
        let amount = |amount: Option<Amount>| amount.map(|amount| amount.units());
        (
            line.source_row,
            line.usage_from.expect("a day").date32(),
            amount(line.cost),
            amount(line.voucher),
            line.line_id.clone(),
            line.product_name.as_deref().map(str::to_owned),
        )
    }

    #[test]
    fn a_month_is_replaced_and_the_same_rows_are_no_commit() {
        let output = place("replace-month");
        let lines = [
            line(2, "2024-11-02", "1.00000001"),
            line(3, "2024-11-01", "-2"),
            line(4, "2024-11-02", "0"),
        ];
        let batch = |lines: &[BillLine]| {
            bill_line_batch(&lines.iter().collect::<Vec<_>>()).expect("a batch")
        };
        let put = |month: &str, batches: Vec<RecordBatch>, txn| {
            let mut table = OpenTable::open(&output, &BILL_LINE).expect("opens");
            replace_partitions(&mut table, vec![(month.into(), batches)], &writer(txn))
                .expect("commits")
        };
        let first = put("2024-11", vec![batch(&lines)], 1);
        assert_eq!((first.committed, first.version, first.files_added), (true, Some(0), 1));
        let expected = [1, 0, 2].map(|place: usize| facts(&lines[place]));
        assert_eq!(stored(&output, "2024-11"), expected);
        // The same rows, split and shuffled: the same file, and no commit.
        let again =
            put("2024-11", vec![batch(&lines[2..]), batch(&lines[..1]), batch(&lines[1..2])], 2);
        assert_eq!((again.committed, again.version, again.files_added), (false, Some(0), 0));
        // Another month stays what it is.
        let december =
            BillLine { bill_month: UsageMonth::parse("2024-12"), ..line(9, "2024-12-01", "5") };
        assert!(put("2024-12", vec![batch(std::slice::from_ref(&december))], 3).committed);
        let fewer = put("2024-11", vec![batch(&lines[..1])], 4);
        assert_eq!((fewer.files_added, fewer.files_removed), (1, 1));
        assert_eq!(stored(&output, "2024-11"), [facts(&lines[0])]);
        assert_eq!(stored(&output, "2024-12"), [facts(&december)]);
        let none = put("2024-11", Vec::new(), 5);
        assert_eq!((none.files_added, none.files_removed), (0, 1));
        assert_eq!(stored(&output, "2024-11"), []);
    }
}
