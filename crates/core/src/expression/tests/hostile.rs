//! Texts that are made to hurt: each is answered, with a typed error, on a small stack.

use super::schema;
use crate::error::{Code, Error};
use crate::expression::Expression;

/// What a thread has if nobody says otherwise is four times as much.
const STACK_SIZE_BYTES: usize = 512 * 1024;

fn parse(text: &str) -> Result<Expression, Error> {
    let text = text.to_owned();
    let work = move || Expression::parse(&text, schema().record_type("t").unwrap());
    std::thread::Builder::new().stack_size(STACK_SIZE_BYTES).spawn(work).unwrap().join().unwrap()
}

fn nested(open: &str, inner: &str, close: &str, count: usize) -> String {
    format!("{}{inner}{}", open.repeat(count), close.repeat(count))
}

#[test]
fn what_is_nested_too_deep_is_refused() {
    let exists = |count| nested("tags.exists(x, ", "b", ")", count);
    let cases = [
        nested("(", "b", ")", 100_000),
        nested("(", "b", ")", 4_000),
        nested("(", "", "", 8_000),
        nested("[", "b", "]", 4_000),
        nested("{", "b", "}", 4_000),
        nested("!", "b", "", 8_000),
        nested("-", "i", "", 8_000),
        nested("-(", "i", ")", 2_000),
        nested("!(", "b", ")", 2_000),
        exists(50),
        exists(500),
        nested("lower(", "s", ")", 50),
        nested("(b && ", "b", ")", 50),
        nested("i + (", "i", ")", 50),
        nested("b ? b : ", "b", "", 200),
        format!("i{} == 0", " + i".repeat(2_000)),
        format!("i{}==0", "+i".repeat(4_000)),
        format!("b{}", " in b".repeat(1_600)),
        format!("{}i{}", "(".repeat(24), format!("{})", "+i".repeat(95)).repeat(24)),
        format!("{}i{}", "(".repeat(24), format!("{})", "==i".repeat(95)).repeat(24)),
        format!("{}s{}", "lower(".repeat(24), ").s.s.s.s.s.s.s.s.s.s".repeat(24)),
        format!("i{} == 0", " * i".repeat(2_000)),
        format!("i{} == 0", " - i".repeat(200)),
        format!("i{} == 0", "- i".repeat(2_000)),
        format!("i{} == 0", "-i".repeat(4_000)),
        format!("i{} == 0", ".0".repeat(4_000)),
        format!("s{}", ".s".repeat(4_000)),
        format!("b{}", " == b".repeat(1_600)),
        format!("b{}", " || b".repeat(1_600)),
        format!("b{}", " && b".repeat(1_600)),
        format!("i in [1{}]", ",1".repeat(4_000)),
        format!("s{}", ".lower()".repeat(1_000)),
        // What hides brackets from a careless look.
        format!("s == \"{}", "(".repeat(4_000)),
        format!("s == \"\\q{}\"", "(".repeat(4_000)),
        format!("s == \"\n{}\"", "(".repeat(4_000)),
        format!("s == '\\x4{}'", "(".repeat(4_000)),
        format!("b // \"\n {}", "(".repeat(4_000)),
        format!("s == `\"`{}", "(".repeat(4_000)),
        format!("s == r\"\\\"{}", "(".repeat(4_000)),
        format!("s == b'\\400{}'", "(".repeat(4_000)),
        format!("\u{feff}\"\u{2028}{}\"", "(".repeat(2_000)),
    ];
    for text in cases {
        let error = parse(&text).unwrap_err();
        let shown: String = text.chars().take(40).collect();
        let codes = [Code::LimitPassed, Code::ExpressionInvalid, Code::ExpressionUnsupported];
        assert!(codes.contains(&error.code()), "{shown}: {error}");
    }
}

#[test]
fn what_is_just_within_the_limits_is_read() {
    let cases = [
        nested("(", "b", ")", 24),
        nested("!(", "b", ")", 24),
        nested("tags.exists(x, ", "b", ")", 24),
        nested("lower(", "s", ")", 22) + " == s",
        nested("(b && !", "b", ")", 24),
        nested("tags.all(x, b || ", "x == s", ")", 24),
        format!("i{} == 0", " + i".repeat(90)),
        format!("b{}", " || b".repeat(990)),
        format!("b{}", " || -1.5 * i < 2.5 - 1.5e-5".repeat(120)),
        format!("i in [-1{}]", ",-1".repeat(900)),
        format!("i in [1{}]", ",1".repeat(900)),
        format!("s == \"{}\"", "(".repeat(4_000)),
        format!("s == \"{}\"", "\\\"\\\\\\x41\\u0041\\U00000041\\101".repeat(200)),
    ];
    for text in cases {
        let shown: String = text.chars().take(40).collect();
        let expression = parse(&text).unwrap_or_else(|error| panic!("{shown}: {error}"));
        let work = move || expression.holds(&[]);
        std::thread::Builder::new().stack_size(STACK_SIZE_BYTES).spawn(work).unwrap().join().unwrap();
    }
}
