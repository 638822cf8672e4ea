//! `bitloop top`: what happens on a coordinator, live on a terminal, as text elsewhere.
//!
//! `look` is what is shown and what keys do to it, `draw` puts it on a terminal; neither knows a clock, a terminal or
//! the network, which are here and in `screen`.

mod draw;
mod look;
mod screen;

use std::io::{IsTerminal, stdout};
use std::time::Duration;

use bitloop_proto::v1::OverviewResponse;
use tokio::sync::mpsc;

use crate::args::{Output, TopArguments};
use crate::client::Client;
use crate::clock::Stopwatch;
use crate::failure::{Exit, Failure, Outcome, Prospect};
use crate::show;

use self::draw::Inks;
use self::look::{Flow, Look};
use self::screen::Screen;

/// How often the screen is drawn when nothing has come, so that it says how old it is.
const REDRAW: Duration = Duration::from_secs(1);

/// Pause after a coordinator was lost, or did not answer as it should.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Time after which an answer counts as missing.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the coordinator said, or why it says nothing.
type News = Result<Box<OverviewResponse>, Failure>;

pub(super) async fn execute(top: &TopArguments, output: Output) -> Outcome {
    let mut client = Client::connect(&top.remote).await?;
    let first = client.overview().await?;
    if output == Output::Json {
        return show::json(&show::overview_json(&first));
    }
    if top.once || !can_be_drawn_on() {
        return show::data(&show::overview_text(&first));
    }
    let mut look = Look::new(&top.remote.coordinator);
    look.show(first);
    let (sender, news) = mpsc::channel(1);
    let ((), watched) = tokio::join!(fetch(top, client, sender), watch(look, news));
    watched
}

/// Whether standard output is a terminal that can move its cursor.
fn can_be_drawn_on() -> bool {
    stdout().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Asks again and again, until nobody listens.
async fn fetch(top: &TopArguments, mut client: Client, news: mpsc::Sender<News>) {
    let asking = async {
        loop {
            tokio::time::sleep(top.every).await;
            let asked = tokio::time::timeout(PATIENCE, client.overview()).await;
            let said = asked.unwrap_or_else(|_| {
                let message = format!("no answer for {} s", PATIENCE.as_secs());
                Err(Failure::new(Exit::Unreachable, message))
            });
            let exit = said.as_ref().err().map(|failure| failure.exit);
            if news.send(said.map(Box::new)).await.is_err() {
                return;
            }
            if exit.is_some() {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            // Waits for it a while by itself; what is wrong is on the screen meanwhile.
            if exit == Some(Exit::Unreachable)
                && let Ok(again) = Client::connect(&top.remote).await
            {
                client = again;
            }
        }
    };
    tokio::select! {
        () = asking => {}
        () = news.closed() => {}
    }
}

/// Draws what comes until someone wants to leave.
async fn watch(mut look: Look, mut news: mpsc::Receiver<News>) -> Outcome {
    let (mut screen, mut keys) = Screen::open()?;
    let inks = Inks::of_terminal();
    let mut since = Stopwatch::start();
    let mut terminated = screen::terminated()?;
    loop {
        look.age(since.seconds());
        screen.draw(&mut look, inks)?;
        tokio::select! {
            said = news.recv() => match said {
                Some(Ok(overview)) => {
                    look.show(*overview);
                    since = Stopwatch::start();
                }
                Some(Err(failure)) => match failure.prospect {
                    Prospect::Refusal => return Err(failure),
                    Prospect::Open | Prospect::Answer => look.lose(&failure.error.to_string()),
                },
                None => return Ok(()),
            },
            pressed = keys.recv() => match pressed {
                Some(key) if look.press(key) == Flow::Go => {}
                Some(_) | None => return Ok(()),
            },
            () = terminated.come() => return Ok(()),
            () = tokio::time::sleep(REDRAW) => {}
        }
    }
}
