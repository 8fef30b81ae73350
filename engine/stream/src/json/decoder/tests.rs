mod keys;
mod malformed;
mod properties;
mod values;

use super::*;
use crate::schema::FieldType;

fn field(name: &str, field_type: &str) -> Field {
    Field::new(name, field_type.parse::<FieldType>().unwrap())
}

fn decoder(fields: &[(&str, &str)]) -> JsonDecoder {
    JsonDecoder::new(
        &fields
            .iter()
            .map(|(name, field_type)| field(name, field_type))
            .collect::<Vec<_>>(),
    )
}

fn error(fields: &[(&str, &str)], payload: &str) -> RowError {
    let mut decoder = decoder(fields);
    let error = decoder.push(payload.as_bytes()).expect_err(payload);
    assert!(decoder.finish().num_rows() == 0, "{payload}: nothing is half appended");
    error
}
