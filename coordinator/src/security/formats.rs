//! Every format that files of the security folder have had, as it was written.

use expect_test::expect_file;

use super::names::{self, NOTE_FILE, Note};
use super::tokens::{self, TOKENS_FILE};
use super::*;

const TOKENS_1: &str = include_str!("golden/tokens_1.json");
const SERVER_0: &str = include_str!("golden/server_0.json");
const SERVER_1: &str = include_str!("golden/server_1.json");

/// The secret of the token in the golden file, and the key that has joined with it.
const SECRET: &[u8] = b"a secret of thirty-two bytes....";
const KEY: &[u8] = b"a public key";

/// Shortly before that token expires.
const NOW: u64 = 1_800_000_000;

fn folder_with(name: &str, text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_private(&folder.path().join(name), text.as_bytes()).unwrap();
    folder
}

fn golden(name: &str) -> expect_test::ExpectFile {
    expect_file![format!("{}/src/security/golden/{name}", env!("CARGO_MANIFEST_DIR"))]
}

fn note() -> Note {
    let names = ["lab.example", "192.0.2.7"].map(|name| name.parse().unwrap()).to_vec();
    Note { names, issued: NOW }
}

#[test]
fn tokens_of_format_1_can_be_used() {
    let folder = folder_with(TOKENS_FILE, TOKENS_1);
    let mut tokens = Tokens::load(folder.path()).unwrap();

    let joined = tokens.take(SECRET, KEY, NOW).unwrap();
    let other = tokens.take(SECRET, b"another key", NOW).unwrap();

    assert_eq!(joined, (Role::Worker, "0123456789abcdef".to_owned()), "it had joined before");
    assert_eq!(other.0, Role::Worker);
    assert_eq!(tokens.take(SECRET, b"a third key", NOW).unwrap_err(), Refusal::UsedToken);
}

#[test]
fn tokens_are_written_in_format_1() {
    let folder = tempfile::tempdir().unwrap();
    let mut tokens = Tokens::load(folder.path()).unwrap();
    let terms = TokenTerms { role: Role::Worker, uses: 2, valid: Duration::from_secs(60) };
    tokens.add(SECRET, terms, NOW).unwrap();
    let (_, name) = tokens.take(SECRET, KEY, NOW).unwrap();

    // A name is random.
    let text = fs::read_to_string(folder.path().join(TOKENS_FILE)).unwrap();
    golden("tokens_1.json").assert_eq(&text.replace(&name, "0123456789abcdef"));
}

#[test]
fn notes_on_the_server_of_every_format_are_read_and_the_last_one_is_written() {
    for text in [SERVER_0, SERVER_1] {
        let folder = folder_with(NOTE_FILE, text);
        assert_eq!(names::load(folder.path()).unwrap(), note());
    }
    let folder = tempfile::tempdir().unwrap();

    names::save(folder.path(), &note()).unwrap();

    let text = fs::read_to_string(folder.path().join(NOTE_FILE)).unwrap();
    golden("server_1.json").assert_eq(&text);
}

#[test]
fn a_newer_file_is_refused_with_both_formats_and_not_called_damaged() {
    for (name, known) in [(TOKENS_FILE, tokens::FORMAT), (NOTE_FILE, names::FORMAT)] {
        let found = known + 1;
        let folder = folder_with(name, &format!("{{\"format\":{found},\"of\":\"another form\"}}"));

        let refused = match name {
            TOKENS_FILE => Tokens::load(folder.path()).map(drop).unwrap_err(),
            _ => names::load(folder.path()).map(drop).unwrap_err(),
        };

        let (said, path) = (refused.to_string(), folder.path().join(name).display().to_string());
        let formats = format!("newer bitloop (format {found}, this one reads {known}); use that version");
        assert!(said.starts_with(&path) && said.contains(&formats), "{said}");
        assert!(!said.contains("remove"), "{said}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_damaged() {
    for text in ["", "{", "[]", "{\"format\":\"one\"}", "{\"format\":1}", "{}"] {
        let folder = folder_with(TOKENS_FILE, text);

        let refused = Tokens::load(folder.path()).unwrap_err();

        assert!(matches!(refused, SecurityError::Damaged { .. }), "{text}: {refused}");
    }
}
