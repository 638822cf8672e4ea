//! `bitloop store`: what can be done to a data directory that no coordinator has open.

use bitloop_coordinator::store::{
    self, Address, Compacted, DatabaseError, Held, Rebuilt, ToolError, Verified, VerifiedDatabase,
};

use crate::args::{Output, StoreArguments, StoreCommand};
use crate::failure::{Exit, Failure, Outcome};
use crate::show;

pub(super) fn execute(command: &StoreCommand, output: Output) -> Outcome {
    match command {
        StoreCommand::Verify(arguments) => verify(arguments, output),
        StoreCommand::Rebuild(arguments) => {
            refuse_database(arguments, "restore a backup with PostgreSQL's own tools")?;
            let rebuilt = store::rebuild(&arguments.data_dir).map_err(refused)?;
            match output {
                Output::Json => show::json(&rebuilt),
                Output::Text => show::data(&rebuilt_text(&rebuilt)),
            }
        }
        StoreCommand::Compact(arguments) => {
            refuse_database(arguments, "PostgreSQL reclaims space by itself, and on `VACUUM`")?;
            let compacted = store::compact(&arguments.data_dir).map_err(refused)?;
            match output {
                Output::Json => show::json(&compacted),
                Output::Text => show::data(&compacted_text(&compacted)),
            }
        }
    }
}

/// The URL of a database, if that is what was named.
fn database(arguments: &StoreArguments) -> Option<&str> {
    arguments.data_dir.to_str().filter(|text| Address::is_meant_by(text))
}

/// What is done to journal and index has no meaning for a database.
fn refuse_database(arguments: &StoreArguments, instead: &str) -> Outcome {
    match database(arguments) {
        None => Ok(()),
        Some(_) => Err(Failure::usage(format!(
            "facts in a database have no index beside them that could be made anew; {instead}"
        ))),
    }
}

fn verify(arguments: &StoreArguments, output: Output) -> Outcome {
    if let Some(url) = database(arguments) {
        return verify_database(url, output);
    }
    let verified = store::verify(&arguments.data_dir).map_err(refused)?;
    match output {
        Output::Json => show::json(&verified)?,
        Output::Text => show::data(&verified_text(&verified))?,
    }
    match verified.difference {
        None => Ok(()),
        Some(difference) => Err(Failure::new(Exit::Failed, format!("not whole: {difference}"))),
    }
}

fn verify_database(url: &str, output: Output) -> Outcome {
    let refused = |error: DatabaseError| match error.is_usage() {
        true => Failure::usage(error.to_string()),
        false => error.into(),
    };
    let address = Address::parse(url).map_err(refused)?;
    let verified = store::verify_database(&address).map_err(refused)?;
    let VerifiedDatabase { facts, epoch } = verified;
    match output {
        Output::Json => show::json(&verified),
        Output::Text => show::data(&show::fields(&[
            ("database", format!("{} facts, {epoch} starts", show::with_thousands(facts))),
            ("verdict", "nothing is damaged".to_owned()),
        ])),
    }
}

/// A directory that cannot be used is a mistake of the command line; everything else is the store's fault.
fn refused(error: ToolError) -> Failure {
    match error.is_usage() {
        true => Failure::usage(error.to_string()),
        false => error.into(),
    }
}

fn verified_text(verified: &Verified) -> String {
    let held = |held: Option<Held>| match held {
        Some(Held { facts, epoch, bytes }) => {
            let (facts, bytes) = (show::with_thousands(facts), show::with_thousands(bytes));
            format!("{facts} facts, {epoch} starts, {bytes} bytes")
        }
        None => "none that can be read".to_owned(),
    };
    let mut fields = vec![("journal", held(verified.journal)), ("store", held(verified.store))];
    fields.extend(verified.notes.iter().map(|note| ("note", note.clone())));
    let verdict = if verified.is_whole() { "nothing is damaged" } else { "damaged" };
    fields.push(("verdict", verdict.to_owned()));
    show::fields(&fields)
}

fn rebuilt_text(rebuilt: &Rebuilt) -> String {
    let mut fields = vec![("store", format!("{} facts of the journal", show::with_thousands(rebuilt.facts)))];
    if let Some(aside) = &rebuilt.aside {
        fields.push(("before", format!("kept in {}; remove it when it is of no more use", aside.display())));
    }
    show::fields(&fields)
}

fn compacted_text(compacted: &Compacted) -> String {
    let Compacted { facts, bytes_before, bytes_after, journal_bytes } = *compacted;
    let bytes = show::with_thousands;
    show::fields(&[
        ("store", format!("{} bytes, {} before", bytes(bytes_after), bytes(bytes_before))),
        (
            "journal",
            format!(
                "{} bytes as before: a start needs each of its {} facts",
                bytes(journal_bytes),
                bytes(facts)
            ),
        ),
    ])
}
