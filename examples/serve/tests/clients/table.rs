//! Parquet's async reader. It reads the footer at the end first, then the row groups of a query.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use futures::TryStreamExt;
use parquet::arrow::{ArrowWriter, ParquetRecordBatchStreamBuilder};
use parquet::file::properties::WriterProperties;
use streamspool::StreamBuffer;

use crate::support::{in_time, uneven};

const ROWS: usize = 5000;

fn group(number: usize) -> RecordBatch {
    let first = i64::try_from(number * ROWS).unwrap();
    let last = first + i64::try_from(ROWS).unwrap();
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((first..last).map(|n| n * n)));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((first..last).map(|n| format!("row {n}"))));
    RecordBatch::try_from_iter([("square", numbers), ("text", texts)]).unwrap()
}

#[tokio::test]
async fn the_footer_and_two_row_groups_are_read_without_the_rest() {
    let schema = group(0).schema();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(ROWS)).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, Some(properties)).unwrap();
    (0..6).for_each(|number| writer.write(&group(number)).unwrap());
    writer.close().unwrap();

    let buffer = StreamBuffer::builder().size(bytes.len() as u64).max_memory(64 * 1024).spawn(uneven(&bytes));
    let builder = in_time("the footer", ParquetRecordBatchStreamBuilder::new(buffer.reader())).await.unwrap();
    assert_eq!(builder.metadata().num_row_groups(), 6);
    let stream = builder.with_row_groups(vec![4, 1]).with_batch_size(ROWS).build().unwrap();
    let batches: Vec<RecordBatch> = in_time("the rows", stream.try_collect()).await.unwrap();
    assert_eq!(batches, [group(4), group(1)]);
}
