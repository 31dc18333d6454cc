//! The shell lines of docs/guide.md do what it says: each ends with the code that its comment tells, and they print what the guide shows.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::path::Path;
use std::process::Command;

const GUIDE: &str = include_str!("../../../docs/guide.md");

/// The blocks of the guide: the word at the fence, and the lines.
fn blocks() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut blocks = Vec::new();
    let mut lines = GUIDE.lines();
    while let Some(line) = lines.next() {
        if let Some(word) = line.strip_prefix("```") {
            blocks.push((word, lines.by_ref().take_while(|line| *line != "```").collect()));
        }
    }
    blocks
}

/// Runs a line of the shell; its exit code, and what it wrote to standard output, then to standard error.
fn run(line: &str, directory: &Path) -> (i32, String) {
    let binary = assert_cmd::cargo::cargo_bin("tenantry");
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found_first = binary.parent().unwrap().to_owned();
    let paths = std::iter::once(found_first).chain(std::env::split_paths(&paths));
    let output = Command::new("sh")
        .args(["-c", line])
        .current_dir(directory)
        .env("PATH", std::env::join_paths(paths).unwrap())
        .env("NO_COLOR", "1")
        .env_remove("TENANTRY_DB")
        .env_remove("TENANTRY_DURABILITY")
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
    (output.status.code().unwrap(), stdout.unwrap() + &stderr.unwrap())
}

/// Whether a line is the one that is shown, in which `...` stands for anything.
fn is_line(shown: &str, line: &str) -> bool {
    let mut parts = shown.split("...");
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

/// Whether the lines are those that are shown, among which `...` alone stands for any number of lines.
fn are_lines(shown: &[&str], lines: &[&str]) -> bool {
    match (shown.split_first(), lines.split_first()) {
        (None, _) => lines.is_empty(),
        (Some((&"...", after)), _) => (0..=lines.len()).any(|count| are_lines(after, &lines[count..])),
        (Some((first, after)), Some((line, rest))) => is_line(first, line) && are_lines(after, rest),
        (Some(_), None) => false,
    }
}

#[test]
fn the_shell_lines_of_the_guide_do_what_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let (mut printed, mut commands, mut outputs) = (String::new(), 0, 0);
    for (word, lines) in blocks() {
        match word {
            "toml" => std::fs::write(directory.path().join("desk.toml"), lines.join("\n")).unwrap(),
            "sh" => {
                printed.clear();
                for line in lines {
                    let expected =
                        line.split_once("# exit code ").map_or(0, |(_, code)| code.parse().unwrap());
                    let (code, text) = run(line, directory.path());
                    assert_eq!(code, expected, "{line}\n{text}");
                    printed += &text;
                    commands += 1;
                }
            }
            "text" => {
                let found: Vec<&str> = printed.lines().collect();
                assert!(are_lines(&lines, &found), "shown:\n{}\n\nprinted:\n{printed}", lines.join("\n"));
                outputs += 1;
            }
            _ => (),
        }
    }
    assert!(commands >= 20 && outputs >= 6, "{commands} commands, {outputs} outputs");
}

#[test]
fn three_dots_stand_for_anything_and_nothing_else_does() {
    let cases = [
        (&["a ... c", "..."][..], &["a b c", "d", "e"][..], true),
        (&["a ... c"], &["a c"], false),
        (&["in ... s"], &["in 0.1 s"], true),
        (&["in ... s"], &["in 0.1 m"], false),
        (&["...", "z"], &["x", "y", "z"], true),
        (&["...", "z"], &["x", "y"], false),
        (&["a"], &["a", "b"], false),
        (&["a", "b"], &["a"], false),
        (&["ab"], &["abc"], false),
    ];
    for (shown, lines, expected) in cases {
        assert_eq!(are_lines(shown, lines), expected, "{shown:?} {lines:?}");
    }
}
