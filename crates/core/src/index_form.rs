//! The form of an index's columns in its keys.
//!
//! An ascending column is the element of [`key_form`], a missing value nil, which sorts first. A descending one is a byte string: the packed element and
//! a zero byte, every byte inverted, so that the greatest comes first and what is missing last. Where the schema wants missing values on the other side, the greatest
//! versionstamp stands for them, which sorts behind every other element.

use bytes::Bytes;
use tenantry_kv::Versionstamp;
use tenantry_kv::tuple::{self, Element};

use crate::error::{Code, Error, Result, shown};
use crate::key_form;
use crate::key_space::behind;
use crate::record::Record;
use crate::schema::{Column, Index, IndexKind, RecordType};
use crate::value::{FieldType, Name, Value};

/// What stands for a missing value where those sort behind the others.
const MISSING_LAST: Element =
    Element::Versionstamp { stamp: Some(Versionstamp::from_bytes([0xff; 10])), user_version: u16::MAX };
/// The first byte of [`MISSING_LAST`]; every other element begins with a lesser one.
const MISSING_LAST_CODE: u8 = 0x33;
/// Closes the packed element before it is inverted: the form of a text can begin with that of a shorter one.
const END: &[u8] = &[0];
/// The first byte of a byte string.
const BYTES_CODE: u8 = 0x01;
/// The first byte behind those of a value that is there: nil is a zero byte.
const BEHIND_NIL: u8 = 0x01;
/// Behind every element.
pub(crate) const BEHIND_ALL: u8 = 0xff;

/// The element of a column's value.
pub(crate) fn element(column: &Column, value: Option<&Value>) -> Result<Element> {
    let plain = match value {
        // Missing is the least, unless the schema wants it elsewhere.
        None if column.are_missing_last != column.is_descending => MISSING_LAST,
        value => key_form::element(value, &column.field_type)?,
    };
    match column.is_descending {
        false => Ok(plain),
        true => Ok(Element::Bytes(inverted(&behind(&tuple::pack(&[plain])?, END)))),
    }
}

/// The elements of a column for a record: one, or one for each different element of a list.
pub(crate) fn elements(column: &Column, values: &[(Name, Value)]) -> Result<Vec<Element>> {
    let value = column.expression.value(values);
    if !column.is_each {
        return Ok(vec![element(column, value.as_deref())?]);
    }
    let Some(Value::List(list)) = value.as_deref() else { return Ok(Vec::new()) };
    let mut elements = Vec::with_capacity(list.len());
    for value in list {
        let element = element(column, Some(value))?;
        if !elements.contains(&element) {
            elements.push(element);
        }
    }
    Ok(elements)
}

/// Shows the texts of a column: one, or each element of a list.
pub(crate) fn each_text(column: &Column, values: &[(Name, Value)], mut show: impl FnMut(&str)) {
    match column.expression.value(values).as_deref() {
        Some(Value::String(text)) if !column.is_each => show(text),
        Some(Value::List(list)) if column.is_each => {
            for value in list {
                if let Value::String(text) = value {
                    show(text);
                }
            }
        }
        _ => {}
    }
}

/// Every combination of the columns' elements for a record: one, but where a column takes each element of a list.
pub(crate) fn rows(columns: &[Column], values: &[(Name, Value)]) -> Result<Vec<Vec<Element>>> {
    let mut rows = vec![Vec::with_capacity(columns.len())];
    for column in columns {
        let elements = elements(column, values)?;
        match &elements[..] {
            [one] => rows.iter_mut().for_each(|row| row.push(one.clone())),
            several => {
                rows = rows
                    .iter()
                    .flat_map(|row| {
                        several.iter().map(move |element| [&row[..], std::slice::from_ref(element)].concat())
                    })
                    .collect();
            }
        }
    }
    Ok(rows)
}

/// Whether an element stands for a missing value.
pub(crate) fn is_missing(column: &Column, element: &Element) -> bool {
    self::element(column, None).is_ok_and(|missing| missing == *element)
}

/// The value of an element. `None` for what is missing, and for types whose keys do not hold the whole value: see [`is_exact`].
pub(crate) fn value(column: &Column, element: &Element) -> Option<Value> {
    if is_missing(column, element) {
        return None;
    }
    match (column.is_descending, element) {
        (false, element) => key_form::value(element, &column.field_type),
        (true, Element::Bytes(bytes)) => {
            let packed = inverted(bytes);
            let elements = tuple::unpack(packed.strip_suffix(END)?).ok()?;
            key_form::value(elements.first()?, &column.field_type)
        }
        (true, _) => None,
    }
}

/// Whether a key holds the whole value: that of a decimal has lost its trailing zeros, that of a float the sign of zero.
pub(crate) fn is_exact(field_type: &FieldType) -> bool {
    !matches!(field_type, FieldType::Decimal | FieldType::Float)
}

/// An end of a range of values, and whether it is in it.
pub(crate) type Bound<'a> = (&'a Value, bool);

/// The part of the keys behind `prefix` whose column lies between two values. What is missing is never in it.
pub(crate) fn range(
    prefix: &[u8],
    column: &Column,
    lower: Option<Bound<'_>>,
    upper: Option<Bound<'_>>,
) -> Result<(Bytes, Bytes)> {
    let (mut begin, mut end) = present(prefix, column);
    let (first, last) = if column.is_descending { (upper, lower) } else { (lower, upper) };
    let packed = |value: &Value| Ok::<_, Error>(tuple::pack_after(prefix, &[element(column, Some(value))?])?);
    if let Some((value, is_included)) = first {
        begin = packed(value)?;
        if !is_included {
            begin = behind(&begin, &[BEHIND_ALL]);
        }
    }
    if let Some((value, is_included)) = last {
        end = packed(value)?;
        if is_included {
            end = behind(&end, &[BEHIND_ALL]);
        }
    }
    Ok((begin, end))
}

/// The keys behind `prefix` whose column is there.
fn present(prefix: &[u8], column: &Column) -> (Bytes, Bytes) {
    let (begin, end): (&[u8], &[u8]) = match (column.is_descending, column.are_missing_last) {
        (false, false) => (&[BEHIND_NIL], &[BEHIND_ALL]),
        (false, true) => (&[], &[MISSING_LAST_CODE]),
        (true, true) => (&[BYTES_CODE], &[BYTES_CODE, !0]),
        (true, false) => (&[BYTES_CODE, !MISSING_LAST_CODE + 1], &[BYTES_CODE + 1]),
    };
    (behind(prefix, begin), behind(prefix, end))
}

/// The keys behind `prefix` whose column is a text that begins with `text`.
pub(crate) fn text_range(prefix: &[u8], column: &Column, text: &str) -> Result<(Bytes, Bytes)> {
    // Without the zero byte that ends it.
    let whole = tuple::pack(&[Element::String(text.to_owned())])?;
    let open = whole.slice(..whole.len() - 1);
    let begin = match column.is_descending {
        false => behind(prefix, &open),
        true => {
            let packed = tuple::pack_after(prefix, &[Element::Bytes(inverted(&open))])?;
            packed.slice(..packed.len() - 1)
        }
    };
    let end = tuple::prefix_end(&begin).unwrap_or_else(|| behind(prefix, &[BEHIND_ALL]));
    Ok((begin, end))
}

fn inverted(bytes: &[u8]) -> Bytes {
    bytes.iter().map(|byte| !byte).collect()
}

/// How many elements an entry's key has before those of the primary key: one for each column, or the hash in their place.
pub(crate) fn own_elements(index: &Index) -> usize {
    if index.is_hashed { 1 } else { index.columns.len() }
}

/// Whether a column of the primary key can be read from an index's own columns.
fn holds(index: &Index, key_column: &str) -> bool {
    let is_it = |column: &Column| {
        column.field() == Some(key_column) && !column.is_descending && !column.are_missing_last
    };
    // A word stands in the place of a text, and the records of one come in the order of the whole key. From a hash nothing is read.
    !index.is_hashed && !matches!(index.kind, IndexKind::Text { .. }) && index.columns.iter().any(is_it)
}

/// The columns of the primary key that an entry has behind the index's own.
pub(crate) fn rest_of_key<'a>(
    record_type: &'a RecordType,
    index: &'a Index,
) -> impl Iterator<Item = &'a String> {
    record_type.primary_key.iter().filter(|column| !holds(index, column))
}

/// The primary key that an entry stands for: from the elements of its key, and those of its value where the key has the index's own columns alone.
pub(crate) fn primary_key(
    record_type: &RecordType,
    index: &Index,
    elements: &[Element],
    value_elements: &[Element],
) -> Result<Vec<Element>> {
    let own = own_elements(index);
    let mut rest =
        if elements.len() == own { value_elements } else { elements.get(own..).unwrap_or_default() }.iter();
    let key = record_type.primary_key.iter().map(|name| match holds(index, name) {
        false => rest.next().cloned(),
        true => {
            let place = index.columns.iter().position(|column| column.field() == Some(name));
            place.and_then(|place| elements.get(place).cloned())
        }
    });
    key.collect::<Option<_>>().ok_or_else(|| {
        let detail = format!("an entry of the index {} is too short", shown(&index.name));
        Error::new(Code::StoredDataInvalid, detail)
    })
}

/// The fields that an index's entries hold in their values, beside those that can be read from their keys.
pub(crate) fn carried_fields<'a>(record_type: &'a RecordType, index: &'a Index) -> Vec<&'a str> {
    if index.covering.is_empty() {
        return Vec::new();
    }
    let columns = index.columns.iter().filter_map(Column::field).map(|name| (name, index.is_hashed));
    let in_keys = columns.chain(record_type.primary_key.iter().map(|name| (name.as_str(), false)));
    let mut carried: Vec<&str> = index.covering.iter().map(String::as_str).collect();
    for (name, is_hashed) in in_keys {
        let is_inexact = record_type.field(name).is_ok_and(|field| !is_exact(&field.field_type));
        if (is_hashed || is_inexact) && !carried.contains(&name) {
            carried.push(name);
        }
    }
    carried
}

/// What an entry's value carries of a record.
pub(crate) fn carried(record_type: &RecordType, index: &Index, record: &Record) -> Result<Bytes> {
    let names = carried_fields(record_type, index);
    let values: Vec<(Name, Value)> =
        record.values.iter().filter(|(name, _)| names.contains(&&**name)).cloned().collect();
    Ok(crate::wire::encode(&values, &record_type.fields, &[])?.into())
}

/// Whether the entries of an index hold a field, so that the record need not be read for it.
pub(crate) fn covers(record_type: &RecordType, index: &Index, name: &str) -> bool {
    let is_in_key = || {
        let mut columns = index.columns.iter().filter_map(Column::field);
        !index.is_hashed && columns.any(|field| field == name)
            || record_type.primary_key.iter().any(|column| column == name)
    };
    let is_exact = record_type.field(name).is_ok_and(|field| is_exact(&field.field_type));
    carried_fields(record_type, index).contains(&name) || (is_exact && is_in_key())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::schema::SchemaDefinition;

    fn columns(field_type: &str) -> Vec<Column> {
        let columns = ["asc", "desc"].iter().flat_map(|order| {
            ["first", "last"]
                .map(|missing| format!("{{ field = \"x\", order = \"{order}\", missing = \"{missing}\" }}"))
        });
        let indexes: Vec<String> = columns
            .enumerate()
            .map(|(number, column)| format!("i{number} = {{ fields = [{column}] }}"))
            .collect();
        let text = format!(
            "name = \"s\"\n[types.t]\nprimary_key = [\"k\"]\nfields = {{ k = \"int\", x = {{ type = \"{field_type}\", optional = true }} }}\n\
             [types.t.indexes]\n{}",
            indexes.join("\n")
        );
        let schema = SchemaDefinition::from_toml(&text).unwrap();
        schema.types[0].indexes.iter().map(|index| index.columns[0].clone()).collect()
    }

    fn packed(column: &Column, value: &Option<Value>) -> Bytes {
        tuple::pack(&[element(column, value.as_ref()).unwrap()]).unwrap()
    }

    /// As the schema says: missing on its side, the others by value.
    fn compare<T: Ord>(column: &Column, one: &Option<T>, other: &Option<T>) -> std::cmp::Ordering {
        match (one, other) {
            (Some(one), Some(other)) if column.is_descending => other.cmp(one),
            (Some(one), Some(other)) => one.cmp(other),
            (None, None) => std::cmp::Ordering::Equal,
            (None, Some(_)) if column.are_missing_last => std::cmp::Ordering::Greater,
            (None, Some(_)) => std::cmp::Ordering::Less,
            (Some(_), None) => compare(column, other, one).reverse(),
        }
    }

    fn check<T: Ord + Clone + Into<Value>>(
        field_type: &str,
        one: &Option<T>,
        other: &Option<T>,
    ) -> std::result::Result<(), TestCaseError> {
        for column in columns(field_type) {
            let value = |value: &Option<T>| value.clone().map(Into::into);
            let (left, right) = (packed(&column, &value(one)), packed(&column, &value(other)));
            prop_assert_eq!(left.cmp(&right), compare(&column, one, other), "{:?}", column);
            let elements = tuple::unpack(&left).unwrap();
            prop_assert_eq!(super::value(&column, &elements[0]), value(one));
            // A range from one to the other, each taken or not.
            for (lower_is_in, upper_is_in) in [(true, true), (true, false), (false, true), (false, false)] {
                let (Some(low), Some(high)) = (value(one), value(other)) else { continue };
                let (begin, end) =
                    range(b"p", &column, Some((&low, lower_is_in)), Some((&high, upper_is_in))).unwrap();
                for found in [one, other] {
                    let key = behind(b"p", &packed(&column, &value(found)));
                    let expected = match (found.cmp(one), found.cmp(other)) {
                        (std::cmp::Ordering::Less, _) | (_, std::cmp::Ordering::Greater) => false,
                        (at_low, at_high) => {
                            (lower_is_in || at_low.is_gt()) && (upper_is_in || at_high.is_lt())
                        }
                    };
                    prop_assert_eq!(begin <= key && key < end, expected, "{:?}", column);
                }
            }
            let (begin, end) = range(b"p", &column, None, None).unwrap();
            let key = behind(b"p", &left);
            prop_assert_eq!(begin <= key && key < end, one.is_some(), "{:?}", column);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn columns_sort_as_the_schema_says(one in any::<Option<i64>>(), other in any::<Option<i64>>()) {
            check("int", &one, &other)?;
        }

        #[test]
        fn texts_sort_as_the_schema_says(one in proptest::option::of("[a\\x00é\u{10ffff}]{0,3}"), other in proptest::option::of("[a\\x00é\u{10ffff}]{0,3}")) {
            check("string", &one, &other)?;
            for column in columns("string") {
                let (Some(text), Some(begin)) = (&one, &other) else { continue };
                let (from, to) = text_range(b"p", &column, begin).unwrap();
                let key = behind(b"p", &packed(&column, &Some(text.as_str().into())));
                prop_assert_eq!(from <= key && key < to, text.starts_with(begin.as_str()));
            }
        }

        #[test]
        fn bytes_and_truth_sort_as_the_schema_says(one in any::<Option<Vec<u8>>>(), other in any::<Option<Vec<u8>>>(), truth in any::<(Option<bool>, Option<bool>)>()) {
            check("bytes", &one.map(Bytes::from), &other.map(Bytes::from))?;
            check("bool", &truth.0, &truth.1)?;
        }
    }
}
