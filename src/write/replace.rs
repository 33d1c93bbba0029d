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
    use crate::write::small::{bill_line_batch, bill_lines};

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

    fn stored(output: &Place, month: &str) -> Vec<BillLine> {
        let table = OpenTable::open(output, &BILL_LINE).expect("opens");
        let files: Vec<_> = table.files_of(Some(month)).into_iter().cloned().collect();
        let batches = files.iter().flat_map(|file| table.read(file, None).expect("reads"));
        batches
            .flat_map(|batch| bill_lines(&batch, UsageMonth::parse(month)).expect("is bill_line"))
            .collect()
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
        let expected = [lines[1].clone(), lines[0].clone(), lines[2].clone()];
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
        assert_eq!(stored(&output, "2024-11"), lines[..1]);
        assert_eq!(stored(&output, "2024-12"), [december]);
        let none = put("2024-11", Vec::new(), 5);
        assert_eq!((none.files_added, none.files_removed), (0, 1));
        assert_eq!(stored(&output, "2024-11"), []);
    }
}
