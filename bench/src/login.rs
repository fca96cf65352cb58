//! What a log-in costs: processor time of the server for each, next to bare hashes with the same
//! parameters in the same run; and that a wrong password takes as long whether or not there is such a user.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use futures_util::future::try_join_all;
use serde_json::json;

use crate::Failure;
use crate::reads::Tokens;
use crate::server::{ADMIN, Place, Server, cpu};
use crate::wire::Wire;

/// What is to be run.
pub struct Logins {
    pub binary: Option<PathBuf>,
    /// Clients that log in, each again as soon as it is answered.
    pub clients: usize,
    /// Log-ins, and bare hashes, of each round.
    pub logins: usize,
    pub rounds: usize,
}

/// Wrong passwords for known and for unknown users: fewer than one address is throttled at.
const GUESSES: usize = 40;

/// Runs it on the embedded store.
pub async fn run(plan: &Logins) -> Result<String, Failure> {
    let data = tempfile::tempdir()?;
    let server = Place::new(plan.binary.clone(), data.path())?.start("serve").await?;
    let users: Vec<String> = (0..GUESSES).map(|n| format!("user{n}@example.com")).collect();
    for email in &users {
        let body = json!({"email": email, "password": ADMIN.1});
        Tokens::of(server.address(), "/v1/users/register", &body).await?;
    }
    let (mut logins, mut hashes) = (Vec::new(), Vec::new());
    // In turn; the first round warms up.
    for round in 0..=plan.rounds {
        let measured = (log_in(&server, &users, plan.clients, plan.logins).await?, hash(plan.logins)?);
        if round > 0 {
            logins.push(measured.0);
            hashes.push(measured.1);
        }
    }
    let (login, hash) = (median(&mut logins), median(&mut hashes));
    let share = hash.as_secs_f64() / login.as_secs_f64().max(f64::EPSILON);
    let (known, unknown) = guess(&server, &users).await?;
    server.end().await?;
    let millis = |span: Duration| span.as_secs_f64() * 1000.0;
    let mut text = format!(
        "log-ins over the embedded store: {} clients, {} a round, the median of {} rounds\n",
        plan.clients, plan.logins, plan.rounds
    );
    text.push_str(&format!("{:<44}{:>14}\n", "", "CPU ms each"));
    text.push_str(&format!("{:<44}{:>14.2}\n", "a log-in, the whole server", millis(login)));
    text.push_str(&format!("{:<44}{:>14.2}\n", "a bare Argon2id, 19 MiB, t=2, p=1", millis(hash)));
    let differ = (millis(known) - millis(unknown)).abs() / millis(known).max(f64::EPSILON);
    text.push_str(&format!(
        "a wrong password: {:.2} ms for a user, {:.2} ms for nobody (medians of {GUESSES})\n",
        millis(known),
        millis(unknown)
    ));
    text.push_str(&crate::report::aims(&[
        ("share of the CPU in Argon2", share, 0.95),
        ("wrong password, 1 - difference", 1.0 - differ, 0.95),
    ]));
    Ok(text)
}

/// Processor time of the server for each of so many log-ins, of so many clients at a time.
async fn log_in(
    server: &Server,
    users: &[String],
    clients: usize,
    count: usize,
) -> Result<Duration, Failure> {
    let wires = try_join_all((0..clients).map(|_| Wire::connect(server.address()))).await?;
    let before = cpu(server.pid);
    let asking = wires.into_iter().enumerate().map(|(client, mut wire)| async move {
        for n in (client..count).step_by(clients) {
            let body = json!({"email": users[n % users.len()], "password": ADMIN.1}).to_string();
            let (status, _) = wire.ask("POST", "/v1/users/login", None, None, &body).await?;
            if status != 200 {
                return Err(Failure::from(format!("a log-in was answered {status}")));
            }
        }
        Ok(())
    });
    try_join_all(asking).await?;
    Ok(cpu(server.pid).saturating_sub(before) / u32::try_from(count.max(1))?)
}

/// Processor time of this process for each of so many hashes, on a thread like the server's, and in
/// memory that it keeps as the server's does.
fn hash(count: usize) -> Result<Duration, Failure> {
    let params = Params::new(19 * 1024, 2, 1, None).map_err(|error| error.to_string())?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let before = cpu(std::process::id());
    let hashed = std::thread::spawn(move || {
        let (mut out, mut memory) = ([0; 32], vec![Block::new(); argon2.params().block_count()]);
        (0..count).try_for_each(|_| {
            let (password, salt) = (ADMIN.1.as_bytes(), b"a salt of sixteen");
            argon2.hash_password_into_with_memory(password, salt, &mut out, &mut memory)
        })
    });
    hashed.join().map_err(|_| "hashing fell")?.map_err(|error| error.to_string())?;
    Ok(cpu(std::process::id()).saturating_sub(before) / u32::try_from(count.max(1))?)
}

/// How long a wrong password takes to be refused: the medians over these users and over as many
/// who are nobody, in turn.
async fn guess(server: &Server, users: &[String]) -> Result<(Duration, Duration), Failure> {
    let mut wire = Wire::connect(server.address()).await?;
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for (n, user) in users.iter().enumerate() {
        let nobody = format!("nobody{n}@example.com");
        for (email, took) in [(user, &mut known), (&nobody, &mut unknown)] {
            let body = json!({"email": email, "password": "not-this-one-0"}).to_string();
            let began = Instant::now();
            let (status, _) = wire.ask("POST", "/v1/users/login", None, None, &body).await?;
            if status != 401 {
                return Err(format!("a wrong password was answered {status}").into());
            }
            took.push(began.elapsed());
        }
    }
    Ok((median(&mut known), median(&mut unknown)))
}

fn median(spans: &mut [Duration]) -> Duration {
    spans.sort_unstable();
    spans.get(spans.len() / 2).copied().unwrap_or_default()
}
