//! The schema as a `.proto` file, with which any language reads the payload of a stored record.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::{RecordType, SchemaDefinition};
use crate::value::{EnumValue, Field, FieldType};
use crate::wire::EMPTY_LISTS;

impl SchemaDefinition {
    /// The schema in the language of protocol buffers, version 3: a message for each record type. What a stored record holds behind its frame, once it is
    /// decompressed, is such a message; `docs/key-layout.md` has the frame.
    ///
    /// A timestamp is in microseconds since 1970, a date in days; a decimal and JSON are text, a UUID its 16 bytes. Lists in lists, and their being there
    /// and empty, have fields of their own.
    pub fn to_proto(&self) -> String {
        let mut file = File { text: String::new(), depth: 0 };
        file.line(&format!("// The records of the schema {:?}.", self.name));
        file.line("syntax = \"proto3\";");
        file.line("");
        file.line(&format!("package {};", identifier(&self.name)));
        let mut taken = BTreeSet::new();
        for record_type in &self.types {
            file.line("");
            file.record_type(record_type, &mut taken);
        }
        file.text
    }
}

/// The field of a message that lists the lists without elements.
const EMPTY_LISTS_NAME: &str = "empty_lists__";

struct File {
    text: String,
    depth: usize,
}

impl File {
    fn line(&mut self, line: &str) {
        let indent = if line.is_empty() { 0 } else { 2 * self.depth };
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "{:indent$}{line}", "");
    }

    fn record_type(&mut self, record_type: &RecordType, taken: &mut BTreeSet<String>) {
        let name = message_name(&record_type.name, record_type.id, taken);
        self.message(&name, &record_type.fields);
    }

    fn message(&mut self, name: &str, fields: &[Field]) {
        self.line(&format!("message {name} {{"));
        self.depth += 1;
        let mut taken = BTreeSet::new();
        // Names are told apart without their underscores, as JSON's names of fields are.
        let compared = |name: &str| name.replace('_', "").to_lowercase();
        let mut names = BTreeSet::from([compared(EMPTY_LISTS_NAME)]);
        for field in fields {
            let written = self.type_of(&field.name, field.id, &field.field_type, &mut taken);
            let mut name = identifier(&field.name);
            if !names.insert(compared(&name)) {
                name = format!("{name}_field_{}", field.id);
                names.insert(compared(&name));
            }
            self.line(&format!("{} {name} = {};", written.with_label(), with_packing(field.id, &written)));
        }
        if fields.iter().any(|field| matches!(field.field_type, FieldType::List(_))) {
            self.empty_lists();
        }
        self.depth -= 1;
        self.line("}");
    }

    fn empty_lists(&mut self) {
        self.line("// The numbers of the lists that are there and have no elements.");
        self.line(&format!("repeated uint32 {EMPTY_LISTS_NAME} = {EMPTY_LISTS} [packed = false];"));
    }

    /// The type of a field; what it needs for that is declared before it.
    fn type_of(
        &mut self,
        name: &str,
        id: u32,
        field_type: &FieldType,
        taken: &mut BTreeSet<String>,
    ) -> Written {
        let scalar = |name: &str| Written { name: name.to_owned(), is_list: false, is_number: true };
        let delimited = |name: &str| Written { name: name.to_owned(), is_list: false, is_number: false };
        match field_type {
            FieldType::Bool => scalar("bool"),
            FieldType::Int | FieldType::Timestamp | FieldType::Date => scalar("sint64"),
            FieldType::Float => scalar("double"),
            FieldType::String | FieldType::Decimal | FieldType::Json => delimited("string"),
            FieldType::Bytes | FieldType::Uuid => delimited("bytes"),
            FieldType::Enum(values) => {
                let message = message_name(name, id, taken);
                self.enumeration(&message, values);
                scalar(&message)
            }
            FieldType::Struct(fields) => {
                let message = message_name(name, id, taken);
                self.message(&message, fields);
                delimited(&message)
            }
            FieldType::List(element) => match &**element {
                // A list in a list is a message with the inner one as its field 1.
                inner @ FieldType::List(_) => {
                    let message = message_name(name, id, taken);
                    self.line(&format!("message {message} {{"));
                    self.depth += 1;
                    let mut inner_taken = BTreeSet::new();
                    let written = self.type_of(name, 1, inner, &mut inner_taken);
                    self.line(&format!(
                        "repeated {} elements = {};",
                        written.name,
                        with_packing(1, &written)
                    ));
                    self.empty_lists();
                    self.depth -= 1;
                    self.line("}");
                    Written { name: message, is_list: true, is_number: false }
                }
                element => Written { is_list: true, ..self.type_of(name, id, element, taken) },
            },
        }
    }

    fn enumeration(&mut self, name: &str, values: &[EnumValue]) {
        self.line(&format!("enum {name} {{"));
        self.depth += 1;
        // Names of values stand beside those of the message around the enum.
        let prefix = name.to_uppercase();
        self.line(&format!("{prefix}__NONE = 0;"));
        for value in values {
            let label = identifier(&value.name).to_uppercase();
            let comment = value.name.escape_default();
            self.line(&format!("{prefix}_{}_{label} = {}; // {comment}", value.id, value.id));
        }
        self.depth -= 1;
        self.line("}");
    }
}

/// A type as it is written.
struct Written {
    name: String,
    is_list: bool,
    /// Whether protocol buffers would pack a list of it, which is not done here.
    is_number: bool,
}

impl Written {
    fn with_label(&self) -> String {
        let label = if self.is_list { "repeated" } else { "optional" };
        format!("{label} {}", self.name)
    }
}

fn with_packing(id: u32, written: &Written) -> String {
    match written.is_list && written.is_number {
        true => format!("{id} [packed = false]"),
        false => id.to_string(),
    }
}

/// Letters, digits and underscores, with a letter first.
fn identifier(name: &str) -> String {
    let letters = name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' });
    let letters: String = letters.collect();
    match letters.starts_with(|first: char| first.is_ascii_alphabetic()) {
        true => letters,
        false => format!("f{letters}"),
    }
}

/// The name of a message or enum, no two of them equal in one scope.
fn message_name(name: &str, id: u32, taken: &mut BTreeSet<String>) -> String {
    let words = identifier(name);
    let words = words.split('_').filter(|word| !word.is_empty());
    let capitalised = words.map(|word| word[..1].to_uppercase() + &word[1..]);
    let mut found = format!("{}Value", capitalised.collect::<String>());
    if !taken.insert(found.to_lowercase()) {
        found = format!("{found}{id}");
        taken.insert(found.to_lowercase());
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]
mod tests {
    use prost_reflect::{DescriptorPool, DynamicMessage, Value as Reflected};

    use super::*;
    use crate::{Record, parse_json, wire};

    const SCHEMA: &str = r#"
        name = "all-kinds.v1"
        [types.all]
        primary_key = ["i"]
        [types.all.fields]
        b = "bool"
        i = "int"
        f = "float"
        s = "string"
        y = "bytes"
        u = "uuid"
        t = "timestamp"
        d = "date"
        n = "decimal"
        j = "json"
        e = { type = "enum", values = { "x y" = 3, "x-y" = 4 } }
        l = { type = "list", of = "int" }
        ll = { type = "list", of = { type = "list", of = "string" } }
        lll = { type = "list", of = { type = "list", of = { type = "list", of = "int" } } }
        st = { type = "struct", fields = { a = "int", z = { type = "list", of = "bool" }, st = { type = "struct", optional = true, fields = { e = { type = "enum", values = ["q"] } } } } }
        ls = { type = "list", of = { type = "struct", fields = { message = "string" } } }
        o = { type = "list", of = "int", optional = true }
        s_t = { type = "struct", optional = true, fields = { a = "int" } }
        [types.ALL]
        primary_key = ["i"]
        fields = { i = "int" }
    "#;

    /// As any language would: with the exported file, and nothing of this crate.
    #[test]
    fn stored_records_are_read_with_it() {
        let schema = SchemaDefinition::from_toml(SCHEMA).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("all.proto"), schema.to_proto()).unwrap();
        let files = protox::compile(["all.proto"], [folder.path()]).unwrap();
        let pool = DescriptorPool::from_file_descriptor_set(files).unwrap();
        let message = pool.get_message_by_name("all_kinds_v1.AllValue").unwrap();
        assert!(pool.get_message_by_name("all_kinds_v1.ALLValue2").is_some());

        let json = parse_json(
            r#"{"b":true,"i":-7,"f":1.5,"s":"é","y":"AP8=","u":"00000000-0000-0000-0000-000000000001","t":"1970-01-01T00:00:00.000001Z","d":"1969-12-31",
                "n":"1.50","j":{"k":[null]},"e":"x-y","l":[1,-2],"ll":[["a"],[]],"lll":[[[1],[]],[]],"st":{"a":0,"z":[],"st":{"e":"q"}},"ls":[{"message":"m"}],"o":[]}"#,
        )
        .unwrap();
        let all = schema.record_type("all").unwrap();
        let record = Record::from_json(&json, all).unwrap();
        let payload = wire::encode(&record.values, &all.fields, &[]).unwrap();
        let read = DynamicMessage::decode(message.clone(), &payload[..]).unwrap();
        // Nothing is left over: every field of every message is known.
        assert!(read.unknown_fields().next().is_none());
        let field = |name: &str| read.get_field_by_name(name).unwrap().into_owned();
        assert_eq!(field("b"), Reflected::Bool(true));
        assert_eq!(field("i"), Reflected::I64(-7));
        assert_eq!(field("f"), Reflected::F64(1.5));
        assert_eq!(field("s"), Reflected::String("é".to_owned()));
        assert_eq!(field("y"), Reflected::Bytes(vec![0, 0xff].into()));
        assert_eq!(field("t"), Reflected::I64(1));
        assert_eq!(field("d"), Reflected::I64(-1));
        assert_eq!(field("n"), Reflected::String("1.50".to_owned()));
        assert_eq!(field("j"), Reflected::String("{\"k\":[null]}".to_owned()));
        assert_eq!(field("e"), Reflected::EnumNumber(4));
        assert_eq!(field("l"), Reflected::List(vec![Reflected::I64(1), Reflected::I64(-2)]));
        assert_eq!(field("empty_lists__"), Reflected::List(vec![Reflected::U32(17)]));
        assert!(!read.has_field_by_name("s_t_field_18"));
        let elements = |value: &Reflected| {
            value.as_message().unwrap().get_field_by_name("elements").unwrap().into_owned()
        };
        let lists = field("ll");
        let lists: Vec<Reflected> = lists.as_list().unwrap().iter().map(elements).collect();
        assert_eq!(
            lists,
            [Reflected::List(vec![Reflected::String("a".to_owned())]), Reflected::List(Vec::new())]
        );
        let deep = field("lll");
        let deep = elements(&deep.as_list().unwrap()[0]);
        assert_eq!(elements(&deep.as_list().unwrap()[0]), Reflected::List(vec![Reflected::I64(1)]));
        let room = field("st");
        let inner = room.as_message().unwrap().get_field_by_name("st").unwrap().into_owned();
        assert_eq!(*inner.as_message().unwrap().get_field_by_name("e").unwrap(), Reflected::EnumNumber(1));
        // What the other language writes is what is stored.
        let mut written = Vec::new();
        prost::Message::encode(&read, &mut written).unwrap();
        let (values, unknown) = wire::decode(&written, &all.fields).unwrap();
        assert!(unknown.is_empty());
        assert_eq!(Record { values, ..Record::new() }, record);
    }
}
