//! From a tree to typed nodes: names are looked up, types are checked, and what is constant is worked out.

use std::collections::{BTreeMap, BTreeSet};

use super::evaluate::{self, Scope};
use super::parse::TREE_DEPTH_MAX;
use super::tree::{Function, Tree};
use super::types::{Type, Typed, comparable, construct, is_number, literal, membership, operands};
use super::{Case, Comparison, Node, Quantifier, TextTest, invalid, unsupported};
use crate::error::{Code, Error, Result, limit, shown};
use crate::limits::EXPRESSION_NODES_MAX;
use crate::text::{Language, MatchKind, TextQuery, Tokenizer};
use crate::value::{Field, FieldType, Value};

/// The name under which parameters are found.
pub(super) const PARAMETERS: &str = "param";
/// The name under which a row policy finds what is known of whoever asks.
const CLAIMS: &str = "claims";

/// What the names of an expression stand for.
pub(super) struct Names<'a> {
    /// The record type's.
    pub(super) type_name: &'a str,
    pub(super) fields: &'a [Field],
    pub(super) parameters: &'a BTreeMap<String, Value>,
    /// For row policies: what is known of whoever asks.
    pub(super) claims: Option<&'a BTreeMap<String, Value>>,
}

/// The typed form of a tree. Every parameter has to be used.
pub(super) fn check(tree: &Tree, names: &Names<'_>) -> Result<Typed> {
    let mut checker =
        Checker { names, used: BTreeSet::new(), elements: Vec::new(), nodes_left: EXPRESSION_NODES_MAX };
    let typed = checker.read(tree, 0)?;
    match names.parameters.keys().find(|name| !checker.used.contains(name.as_str())) {
        None => Ok(typed),
        Some(name) => {
            let detail = format!("the expression does not use the parameter {}: leave it out", shown(name));
            Err(Error::new(Code::ParameterInvalid, detail))
        }
    }
}

struct Checker<'a> {
    names: &'a Names<'a>,
    used: BTreeSet<String>,
    /// The elements of the macros around, from the outside.
    elements: Vec<(String, FieldType)>,
    nodes_left: usize,
}

impl Checker<'_> {
    fn read(&mut self, tree: &Tree, depth: usize) -> Result<Typed> {
        if depth > TREE_DEPTH_MAX {
            return Err(limit("the depth of an expression", depth, TREE_DEPTH_MAX));
        }
        self.nodes_left = self.nodes_left.checked_sub(1).ok_or_else(|| {
            limit("the parts of an expression", EXPRESSION_NODES_MAX + 1, EXPRESSION_NODES_MAX)
        })?;
        match tree {
            Tree::Literal(None) => Ok(Typed { node: Node::Literal(None), kind: Type::Null }),
            Tree::Literal(Some(value)) => literal(value.clone()),
            Tree::List(elements) => self.read_list(elements, depth),
            Tree::Path(path) => self.read_path(path),
            Tree::Has(operand) => self.read_has(operand, depth),
            Tree::Not(inner) => Ok(Typed::condition(Node::Not(Box::new(self.read_condition(inner, depth)?)))),
            Tree::And(parts) => Ok(Typed::condition(Node::And(self.read_conditions(parts, depth)?))),
            Tree::Or(parts) => Ok(Typed::condition(Node::Or(self.read_conditions(parts, depth)?))),
            Tree::Compare(comparison, left, right) => {
                let (left, right) = (self.read(left, depth + 1)?, self.read(right, depth + 1)?);
                let (left, right) = comparable(*comparison, left, right)?;
                Ok(Typed::condition(Node::Compare(*comparison, Box::new(left), Box::new(right))))
            }
            Tree::In(needle, list) => {
                let (needle, list) = (self.read(needle, depth + 1)?, self.read(list, depth + 1)?);
                membership(needle, list)
            }
            Tree::Arithmetic(operation, left, right) => {
                let (left, right) = (self.read(left, depth + 1)?, self.read(right, depth + 1)?);
                let is_constant = left.is_constant() && right.is_constant();
                let (left, right, result) = operands(*operation, left, right)?;
                let node = Node::Arithmetic(*operation, Box::new(left), Box::new(right));
                worked_out(node, result, is_constant)
            }
            Tree::Negate(inner) => self.read_negation(inner, depth),
            Tree::Each(quantifier, list, name, condition) => {
                self.read_each(*quantifier, list, name, condition, depth)
            }
            Tree::Call(function, arguments) => self.read_function(*function, arguments, depth),
            Tree::Refused(what, found, most) => Err(limit(what, *found, *most)),
        }
    }

    fn read_list(&mut self, elements: &[Tree], depth: usize) -> Result<Typed> {
        let mut values = Vec::with_capacity(elements.len());
        for element in elements {
            match self.read(element, depth + 1)?.node {
                Node::Literal(Some(value)) => values.push(value),
                _ => return Err(unsupported("a list with anything but literals in it")),
            }
        }
        Ok(Typed { node: Node::Literal(Some(Value::List(values))), kind: Type::Literals })
    }

    /// The element of a macro, a field or a parameter: the name that is nearest counts.
    fn read_path(&mut self, path: &[String]) -> Result<Typed> {
        let Some((first, rest)) = path.split_first() else {
            return Err(Error::new(Code::FieldNotFound, "a field has a name"));
        };
        // Before everything else: no record can put anything in the place of a claim.
        if let Some(claims) = self.names.claims.filter(|_| first == CLAIMS) {
            return read_claim(claims, rest);
        }
        if let Some(level) = self.elements.iter().rposition(|(name, _)| name == first) {
            let element_type = &self.elements[level].1;
            let field_type = self.inside(element_type, path, 1)?.clone();
            return Ok(Typed::new(Node::Element(level, rest.to_vec()), field_type));
        }
        let fields = self.names.fields;
        if let Some(field) = fields.iter().find(|field| *field.name == **first) {
            let field_type = self.inside(&field.field_type, path, 1)?.clone();
            return Ok(Typed::new(Node::Field(path.to_vec()), field_type));
        }
        match first == PARAMETERS {
            true => self.read_parameter(rest),
            false => Err(self.unknown(path, 0, fields)),
        }
    }

    /// The type of a field of structs in structs: the path from a place on.
    fn inside<'t>(&self, field_type: &'t FieldType, path: &[String], from: usize) -> Result<&'t FieldType> {
        let mut found = field_type;
        for (index, name) in path.iter().enumerate().skip(from) {
            let fields = match found {
                FieldType::Struct(fields) => fields.as_slice(),
                _ => &[],
            };
            if let FieldType::List(_) = found {
                let list = path[..index].join(".");
                let detail = format!(
                    "{} is a list: ask its elements, as in {list}.exists(x, x.{name} == ...)",
                    shown(&list)
                );
                return Err(Error::new(Code::FieldNotFound, detail));
            }
            match fields.iter().find(|field| *field.name == **name) {
                Some(field) => found = &field.field_type,
                None => return Err(self.unknown(path, index, fields)),
            }
        }
        Ok(found)
    }

    fn unknown(&self, path: &[String], index: usize, fields: &[Field]) -> Error {
        let known: Vec<&str> = fields.iter().map(|field| &*field.name).collect();
        let detail = format!(
            "{} in the type {}; there are {}",
            shown(&path[..=index].join(".")),
            shown(self.names.type_name),
            known.join(", ")
        );
        Error::new(Code::FieldNotFound, detail)
    }

    fn read_parameter(&mut self, path: &[String]) -> Result<Typed> {
        let refused = |detail: String| Err(Error::new(Code::ParameterInvalid, detail));
        let [name] = path else {
            return refused("a parameter is written param.NAME".to_owned());
        };
        let Some(value) = self.names.parameters.get(name) else {
            let known: Vec<&str> = self.names.parameters.keys().map(String::as_str).collect();
            let given = match known.is_empty() {
                true => "none is given".to_owned(),
                false => format!("given are {}", known.join(", ")),
            };
            return refused(format!("there is no value for the parameter {}; {given}", shown(name)));
        };
        if let Value::List(elements) = value
            && elements.len() > EXPRESSION_NODES_MAX
        {
            let what = format!("the elements of the parameter {}", shown(name));
            return Err(limit(&what, elements.len(), EXPRESSION_NODES_MAX));
        }
        self.used.insert(name.clone());
        literal(value.clone())
            .or_else(|error| refused(format!("the parameter {}: {}", shown(name), error.detail())))
    }

    /// Whether a field is there; the same as that it is not null.
    fn read_has(&mut self, operand: &Tree, depth: usize) -> Result<Typed> {
        let typed = self.read(operand, depth + 1)?;
        match typed.node {
            Node::Field(_) | Node::Element(..) => {
                let null = Box::new(Node::Literal(None));
                Ok(Typed::condition(Node::Compare(Comparison::NotEqual, Box::new(typed.node), null)))
            }
            _ => Err(invalid("has() takes a field".to_owned())),
        }
    }

    fn read_condition(&mut self, tree: &Tree, depth: usize) -> Result<Node> {
        let typed = self.read(tree, depth + 1)?;
        match typed.kind {
            Type::Of(FieldType::Bool) => Ok(typed.node),
            other => Err(invalid(format!("&&, || and ! take conditions, not a {}", other.name()))),
        }
    }

    fn read_conditions(&mut self, parts: &[Tree], depth: usize) -> Result<Vec<Node>> {
        parts.iter().map(|part| self.read_condition(part, depth)).collect()
    }

    fn read_negation(&mut self, inner: &Tree, depth: usize) -> Result<Typed> {
        let typed = self.read(inner, depth + 1)?;
        match &typed.kind {
            Type::Of(field_type) if is_number(field_type) => {
                let (result, is_constant) = (field_type.clone(), typed.is_constant());
                worked_out(Node::Negate(Box::new(typed.node)), result, is_constant)
            }
            other => Err(invalid(format!("a minus stands before a number, not a {}", other.name()))),
        }
    }

    fn read_each(
        &mut self,
        quantifier: Quantifier,
        list: &Tree,
        name: &str,
        condition: &Tree,
        depth: usize,
    ) -> Result<Typed> {
        let is_taken = name == PARAMETERS || (self.names.claims.is_some() && name == CLAIMS);
        if !is_name(name) || is_taken {
            return Err(invalid(format!("the elements of a list cannot be named {}", shown(name))));
        }
        let list = self.read(list, depth + 1)?;
        let element_type = match (&list.kind, &list.node) {
            (Type::Of(FieldType::List(element)), _) => (**element).clone(),
            (Type::Literals, Node::Literal(Some(Value::List(elements)))) => type_of_all(elements)?,
            (other, _) => {
                let detail = format!("exists and all ask the elements of a list, not of a {}", other.name());
                return Err(invalid(detail));
            }
        };
        self.elements.push((name.to_owned(), element_type));
        let condition = self.read_condition(condition, depth);
        self.elements.pop();
        Ok(Typed::condition(Node::Each(quantifier, Box::new(list.node), Box::new(condition?))))
    }

    fn read_function(&mut self, function: Function, arguments: &[Tree], depth: usize) -> Result<Typed> {
        let name = function.name();
        match (function, arguments) {
            (Function::Text(test), [text, part]) => self.read_text_test(test, name, text, part, depth),
            (Function::Size, [inner]) => self.read_size(inner, depth),
            (Function::Lower, [inner]) => self.read_case(Case::Lower, inner, depth),
            (Function::Upper, [inner]) => self.read_case(Case::Upper, inner, depth),
            (Function::Date | Function::Timestamp | Function::Uuid | Function::Decimal, [argument]) => {
                match self.read(argument, depth + 1)?.node {
                    Node::Literal(Some(Value::String(text))) => construct(function, &text),
                    _ => Err(unsupported(&format!("{name}() of anything but a text in quotes"))),
                }
            }
            (Function::Match(kind), [text, words, language @ ..]) if language.len() < 2 => {
                self.read_match(kind, name, text, words, language.first(), depth)
            }
            (Function::Match(_), _) => Err(invalid(format!(
                "{name} takes a text, words, and perhaps a language: {name}(text, \"words\")"
            ))),
            (_, arguments) => {
                let takes = if function.is_method() { "one argument in brackets" } else { "one argument" };
                let given = arguments.len().saturating_sub(usize::from(function.is_method()));
                Err(invalid(format!("{name} takes {takes}, not {given}")))
            }
        }
    }

    fn read_text_test(
        &mut self,
        test: TextTest,
        name: &str,
        text: &Tree,
        part: &Tree,
        depth: usize,
    ) -> Result<Typed> {
        let (text, part) = (self.read(text, depth + 1)?, self.read(part, depth + 1)?);
        for side in [&text, &part] {
            check_is_string(side, name)?;
        }
        Ok(Typed::condition(Node::Text(test, Box::new(text.node), Box::new(part.node))))
    }

    fn read_match(
        &mut self,
        kind: MatchKind,
        name: &str,
        text: &Tree,
        words: &Tree,
        language: Option<&Tree>,
        depth: usize,
    ) -> Result<Typed> {
        let text = self.read(text, depth + 1)?;
        check_is_string(&text, name)?;
        let mut constant = |tree: &Tree, what: &str| match self.read(tree, depth + 1)?.node {
            Node::Literal(Some(Value::String(text))) => Ok(text),
            _ => Err(unsupported(&format!("{name} with {what} that is anything but a text in quotes"))),
        };
        let words = constant(words, "a second argument")?;
        let language = match language {
            None => None,
            Some(tree) => {
                let language = constant(tree, "a language")?;
                Some(Language::of_name(&language).ok_or_else(|| {
                    let known: Vec<&str> = Language::ALL.iter().map(|language| language.name()).collect();
                    invalid(format!(
                        "there is no language {}; there are {}",
                        shown(&language),
                        known.join(", ")
                    ))
                })?)
            }
        };
        let query = TextQuery::new(kind, Tokenizer::new(language), &words)?;
        Ok(Typed::condition(Node::Match(Box::new(text.node), query)))
    }

    fn read_size(&mut self, inner: &Tree, depth: usize) -> Result<Typed> {
        let typed = self.read(inner, depth + 1)?;
        match &typed.kind {
            Type::Of(FieldType::String | FieldType::Bytes | FieldType::List(_)) | Type::Literals => {
                let is_constant = typed.is_constant();
                worked_out(Node::Size(Box::new(typed.node)), FieldType::Int, is_constant)
            }
            other => Err(invalid(format!("a {} has no size", other.name()))),
        }
    }

    fn read_case(&mut self, case: Case, inner: &Tree, depth: usize) -> Result<Typed> {
        let typed = self.read(inner, depth + 1)?;
        check_is_string(&typed, if case == Case::Lower { "lower" } else { "upper" })?;
        let is_constant = typed.is_constant();
        worked_out(Node::Case(case, Box::new(typed.node)), FieldType::String, is_constant)
    }
}

fn check_is_string(typed: &Typed, name: &str) -> Result<()> {
    match typed.kind {
        Type::Of(FieldType::String) => Ok(()),
        ref other => Err(invalid(format!("{name} takes strings, not a {}", other.name()))),
    }
}

/// Whether elements can be called so in a text: a builder calls them what it likes.
/// What stands for a claim. One that is not given refuses the expression.
fn read_claim(claims: &BTreeMap<String, Value>, path: &[String]) -> Result<Typed> {
    let refused = |detail: String| Err(Error::new(Code::ParameterInvalid, detail));
    match path {
        [name] => match claims.get(name) {
            Some(value) => literal(value.clone())
                .or_else(|error| refused(format!("the claim {}: {}", shown(name), error.detail()))),
            None => refused(format!("there is no claim {}", shown(name))),
        },
        _ => refused("a claim is written claims.NAME".to_owned()),
    }
}

fn is_name(name: &str) -> bool {
    const RESERVED: [&str; 21] = [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "namespace",
        "null",
        "package",
        "return",
        "true",
        "var",
        "void",
        "while",
    ];
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(is_letter)
        && !name.bytes().next().is_none_or(|byte| byte.is_ascii_digit())
        && !RESERVED.contains(&name)
}

/// The one type of literals that a condition is asked of.
fn type_of_all(elements: &[Value]) -> Result<FieldType> {
    let mut found: Option<FieldType> = None;
    for element in elements {
        let Type::Of(field_type) = literal(element.clone())?.kind else {
            return Err(unsupported("a list of lists"));
        };
        match &found {
            Some(earlier) if *earlier != field_type => {
                let detail = format!(
                    "the elements of a list are of one type, not {} and {}",
                    earlier.name(),
                    field_type.name()
                );
                return Err(invalid(detail));
            }
            _ => found = Some(field_type),
        }
    }
    // Of no elements nothing is asked.
    Ok(found.unwrap_or(FieldType::Bool))
}

/// A node, or the literal that it comes to.
fn worked_out(node: Node, field_type: FieldType, is_constant: bool) -> Result<Typed> {
    if !is_constant {
        return Ok(Typed::new(node, field_type));
    }
    match evaluate::value_of(&node, Scope::of(&[])) {
        Some(value) => literal(value.into_owned()),
        None => Err(invalid("it holds arithmetic on literals that has no result".to_owned())),
    }
}
