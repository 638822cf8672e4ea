//! A probe that behaves as its first argument says; `good` is one that does all it should.
//!
//! `--once FILE` behind it: good from the second process on, as the first one leaves the file. `--if KIND:WIDTH`: good but for
//! requests of that kind about networks whose points all have that width. `--tell FILE` adds the number of each process that is
//! started to a file, each request, and a word when the process ends by itself.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio, exit};
use std::thread;

use serde_json::{Value, json};

/// Rounds of a good answer: so short that they fit into any time that one waits for them.
const ROUNDS: usize = 20;
const TIME_NS: f64 = 1_000.0;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let behind = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        Some(arguments.get(at + 1).map(String::as_str).unwrap_or_default())
    };
    let told = Told(behind("--tell").map(PathBuf::from));
    told.add(&std::process::id().to_string())?;
    let is_first = behind("--once")
        .is_none_or(|file| OpenOptions::new().create_new(true).write(true).open(file).is_ok());
    let mode = if is_first { arguments.first().map_or("", String::as_str) } else { "good" };
    let only = behind("--if").and_then(|what| what.split_once(':'));
    let only = only.map(|(kind, width)| (kind.to_owned(), width.parse().expect("a width is a number")));
    Probe { mode: mode.to_owned(), only, told: told.clone(), child: None }.serve()?;
    told.add("ended by itself")
}

/// The file that is told of what happens, if there is one.
#[derive(Clone)]
struct Told(Option<PathBuf>);

impl Told {
    fn add(&self, text: &str) -> io::Result<()> {
        let Some(file) = &self.0 else { return Ok(()) };
        // In one piece: whoever kills it finds whole lines.
        OpenOptions::new().create(true).append(true).open(file)?.write_all(format!("{text}\n").as_bytes())
    }
}

struct Probe {
    mode: String,
    /// The kind of requests and the width that it misbehaves for, if not for all.
    only: Option<(String, u64)>,
    told: Told,
    child: Option<Child>,
}

impl Probe {
    fn serve(mut self) -> io::Result<()> {
        match self.mode.as_str() {
            "hangs-at-start" => hang(),
            "dies-at-start" => {
                eprintln!("no board is connected");
                exit(3);
            }
            "child" | "child-keeps-output" => self.child = Some(child()?),
            _ => {}
        }
        say(&self.hello())?;
        if self.mode == "unasked" {
            say(&json!({ "id": 1, "reply": "inferred" }))?;
        }
        for line in io::stdin().lock().lines() {
            let line = line?;
            self.told.add(&line)?;
            self.answer(&serde_json::from_str(&line)?)?;
        }
        if self.mode == "ignores-end" {
            hang();
        }
        Ok(())
    }

    fn hello(&self) -> Value {
        let mut hello = json!({
            "protocol": 1, "class": "made-up board", "runtime": "double 1.0", "onnx": true, "abilities": ["layers", "infer"],
        });
        match self.mode.as_str() {
            "garbage-at-start" => return json!("Welcome!"),
            "other-protocol" => hello["protocol"] = json!(2),
            "no-class" => hello["class"] = json!(""),
            "other-class-at-first" => hello["class"] = json!("another board"),
            "unknown-hello-field" => hello["colour"] = json!("red"),
            _ => {}
        }
        hello
    }

    fn answer(&self, request: &Value) -> io::Result<()> {
        let (id, ask) = (&request["id"], &request["ask"]);
        let asked = ask.as_object().and_then(|ask| ask.keys().next()).cloned().unwrap_or_default();
        let is_good = self.only.as_ref().is_some_and(|(kind, width)| {
            *kind != asked || widths(&ask[&asked]) != BTreeSet::from([Some(*width)])
        });
        let mode = if is_good { "good" } else { &self.mode };
        let mut answer = json!({ "id": id, "reply": self.reply(&asked, &ask[&asked])? });
        match mode {
            "hangs" | "child" => hang(),
            "dies" => {
                eprintln!("segmentation violation");
                exit(4);
            }
            "child-keeps-output" => exit(0),
            "garbage" => return write("Segmentation fault (core dumped)\n"),
            "endless-line" => loop {
                write(&"x".repeat(1 << 16))?;
            },
            "half-a-line" => {
                write(&answer.to_string()[..20])?;
                exit(0);
            }
            "answers-and-ends" => {
                say(&answer)?;
                exit(0);
            }
            "wrong-id" => answer["id"] = json!(1_000_000),
            "twice" => write(&format!("{answer}\n{answer}\n"))?,
            "floods" => (0..100_000).for_each(|line| eprintln!("warning {line}: \u{1b}[31mhot\u{1b}[0m")),
            "not-a-number" => {
                let text = answer.to_string().replace(&json!(TIME_NS).to_string(), "NaN");
                return write(&format!("{text}\n"));
            }
            "unknown-field" => answer["colour"] = json!("red"),
            "unknown-reply" => answer["reply"] = json!({ "estimated": 5 }),
            "other-reply" => answer["reply"] = json!("inferred"),
            "failed" => answer["reply"] = json!({ "failed": { "reason": "no kernel\nfor 3 bits" } }),
            "unable" => answer["reply"] = json!({ "unable": { "reason": "the board is too hot" } }),
            _ => lie(mode, &mut answer["reply"]),
        }
        say(&answer)
    }

    fn reply(&self, asked: &str, ask: &Value) -> io::Result<Value> {
        match asked {
            "infer" => self.infer(ask),
            "layers" => Ok(json!({ "layers": {
                "nodes": nodes(ask), "other": [100.0, 100.0], "whole": [TIME_NS, TIME_NS], "environment": {},
            } })),
            _ => {
                let child = self.child.as_ref().map(|child| child.id().to_string());
                let more =
                    json!({ "process": std::process::id().to_string(), "child": child.unwrap_or_default() });
                let more = more.as_object().into_iter().flatten().filter(|(_, value)| *value != "");
                let more: serde_json::Map<_, _> =
                    more.map(|(key, value)| (key.clone(), value.clone())).collect();
                Ok(json!({ "timed": {
                    "rounds": vec![[TIME_NS, TIME_NS]; ROUNDS], "peak_memory_bytes": 1 << 20,
                    "energy": { "source": "made up", "joules": [[1e-6, 1e-6]] }, "environment": { "more": more },
                } }))
            }
        }
    }

    /// Gives ten logits of each image, and a value of each node.
    fn infer(&self, ask: &Value) -> io::Result<Value> {
        let nodes = ask["nodes"].as_array().map_or(0, Vec::len) as u64;
        let values = ask["count"].as_u64().unwrap_or_default() * (10 + nodes);
        let missing = if self.mode == "short-output" { 4 } else { 0 };
        if self.mode != "no-output" {
            let output = ask["output"].as_str().unwrap_or_default();
            std::fs::write(output, vec![0; values as usize * 4 - missing])?;
        }
        Ok(json!("inferred"))
    }
}

/// The widths that points of a request's network have; none stands for floats.
fn widths(ask: &Value) -> BTreeSet<Option<u64>> {
    let bits = ask["config"]["bits"].as_object();
    bits.into_iter().flatten().map(|(_, bits)| bits.as_u64()).collect()
}

/// Times of the layers that have weights, two of each; of two layers where nothing is said of weights.
fn nodes(ask: &Value) -> Value {
    let points = ask["config"]["bits"].as_object().into_iter().flatten();
    let layers = points.filter_map(|(point, _)| point.strip_suffix(".weight"));
    let nodes: serde_json::Map<_, _> =
        layers.map(|layer| (layer.to_owned(), json!([300.0, 300.0]))).collect();
    if nodes.is_empty() { json!({ "conv": [600.0, 600.0], "dense": [300.0, 300.0] }) } else { nodes.into() }
}

/// What cannot be, in a good answer.
fn lie(mode: &str, reply: &mut Value) {
    let times = |time: f64| json!(vec![[time, TIME_NS]; ROUNDS]);
    let both = |time: f64| json!(vec![[time, time]; ROUNDS]);
    match mode {
        "no-unit" => reply["timed"]["rounds"] = times(5.0),
        // Of inferences of 30 ms and of 100 us.
        "milliseconds" => reply["timed"]["rounds"] = both(30.0),
        "microseconds" => reply["timed"]["rounds"] = both(100.0),
        // More than a year each.
        "large-unit" => reply["timed"]["rounds"] = times(5e16),
        "negative" => reply["timed"]["rounds"] = times(-TIME_NS),
        "zero" => reply["timed"]["rounds"] = times(0.0),
        "null" => reply["timed"]["rounds"] = json!([[null, null]]),
        "no-rounds" => reply["timed"]["rounds"] = json!([]),
        "million-rounds" => reply["timed"]["rounds"] = json!(vec![[99, 99]; 1_000_000]),
        "memory" => reply["timed"]["peak_memory_bytes"] = json!(u64::MAX),
        "energy" => reply["timed"]["energy"]["joules"] = json!([[1.0, 1.0]]),
        "escape" => reply["timed"]["environment"]["governor"] = json!("\u{1b}[2J"),
        "unknown-reply-field" => {
            let what = if reply.get("timed").is_some() { "timed" } else { "layers" };
            reply[what]["colour"] = json!("red");
        }
        "unknown-layer" => reply["layers"]["nodes"]["attention"] = json!([1.0, 1.0]),
        "layers-unit" => reply["layers"]["whole"] = json!([9e5]),
        _ => {}
    }
}

fn say(line: &Value) -> io::Result<()> {
    write(&format!("{line}\n"))
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A process of its own that does nothing and holds standard output and error open.
fn child() -> io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg("hangs-at-start")
        .args(child_tells())
        .stdin(Stdio::null())
        .spawn()
}

/// It tells of itself where its parent does.
fn child_tells() -> Vec<String> {
    let arguments: Vec<String> = std::env::args().collect();
    let at = arguments.iter().position(|argument| argument == "--tell");
    at.map_or_else(Vec::new, |at| arguments[at..].to_vec())
}

fn hang() -> ! {
    loop {
        thread::park();
    }
}
