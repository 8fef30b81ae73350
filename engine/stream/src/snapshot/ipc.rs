//! One micro-batch as an Arrow IPC stream, read from bytes that nobody vouches for.
//!
//! arrow-ipc (as of 59.3) gives errors for values that do not fit together, and panics where a message itself is impossible:
//! `fb_to_schema` at types, widths and units that there are not, `read_buffer` at a buffer outside of the body,
//! `BooleanBuffer::new` at a validity bitmap that is too short, `Buffer::typed_data` at half an offset, `read_record_batch` at
//! view counts left over. So the messages are checked before it sees them, and it then validates the values in full.
//! Never here: whether the columns are those of some operator (that is for its `restore` to say).

mod batch_message;
pub(crate) mod error;
pub(crate) mod schema_message;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::read_record_batch;
use arrow::ipc::writer::StreamWriter;
use arrow::ipc::{Message, MetadataVersion, root_as_message};

use error::IpcError;
use schema_message::is_storable;

/// What a message begins with, and the stream ends with before a length of zero.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// Appends a stream of one batch.
pub(super) fn encode(batch: &RecordBatch, bytes: &mut Vec<u8>) -> Result<(), IpcError> {
    // What could not be read back is refused while the rows are still there.
    if let Some(field) = batch
        .schema_ref()
        .fields()
        .iter()
        .find(|field| !is_storable(field.data_type()))
    {
        return Err(IpcError::Column {
            column: field.name().clone(),
            what: format!("the type {}, which cannot be kept", field.data_type()),
        });
    }
    let mut writer = StreamWriter::try_new(bytes, batch.schema_ref())?;
    writer.write(batch)?;
    Ok(writer.finish()?)
}

/// Reads what [`encode`] wrote: a schema, one batch, the end.
pub(super) fn decode(stream: &[u8]) -> Result<RecordBatch, IpcError> {
    let mut rest = stream;
    let (header, bytes) = take_message(&mut rest, "schema")?;
    let schema = header.header_as_schema();
    let schema = schema.ok_or(IpcError::NoSuchMessage { expected: "schema" })?;
    take_body(&mut rest, &header, true)?;
    schema_message::check(schema, bytes)?;
    let schema = Arc::new(fb_to_schema(schema));

    let (header, _) = take_message(&mut rest, "batch")?;
    let batch = header.header_as_record_batch();
    let batch = batch.ok_or(IpcError::NoSuchMessage { expected: "batch" })?;
    let body = Buffer::from(take_body(&mut rest, &header, false)?);
    batch_message::check(batch, &schema, body.len())?;
    if rest != [CONTINUATION, [0; 4]].concat() {
        return Err(IpcError::GoesOn);
    }
    let version = header.version();
    Ok(read_record_batch(
        &body,
        batch,
        schema,
        &HashMap::new(),
        None,
        &version,
    )?)
}

/// A message's own part and how many bytes it has. Its flatbuffer points nowhere outside of itself, and is less than 64
/// tables deep.
fn take_message<'a>(rest: &mut &'a [u8], expected: &'static str) -> Result<(Message<'a>, usize), IpcError> {
    let continuation = take(rest, 4)?;
    let length = take(rest, 4)?.try_into().expect("four bytes");
    let length = usize::try_from(i32::from_le_bytes(length)).unwrap_or(0);
    if *continuation != CONTINUATION || length == 0 {
        return Err(IpcError::NoSuchMessage { expected });
    }
    let message = root_as_message(take(rest, length)?).map_err(IpcError::message)?;
    if message.version() != MetadataVersion::V5 {
        return Err(IpcError::message(format!("it has version {:?}", message.version())));
    }
    Ok((message, length))
}

fn take_body<'a>(rest: &mut &'a [u8], message: &Message<'_>, is_empty: bool) -> Result<&'a [u8], IpcError> {
    let length = usize::try_from(message.bodyLength()).map_err(IpcError::message)?;
    if is_empty && length > 0 {
        return Err(IpcError::message("a schema has a body"));
    }
    take(rest, length)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], IpcError> {
    let (taken, after) = rest.split_at_checked(length).ok_or(IpcError::EndsWithin)?;
    *rest = after;
    Ok(taken)
}
