//! Argon2id in a bounded pool of threads of its own.
//!
//! Who calls it: [`steward_actors::users`], through its port. What never happens here: hashing on
//! an async thread, a queue without an end, more memory than one hash a thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use argon2::password_hash::phc;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use async_trait::async_trait;
use metrics::gauge;
use steward_actors::figures;
use steward_actors::supervision::lock;
use steward_actors::users::{HashError, Password, PasswordHash, PasswordHasher};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Memory of one hash in KiB: 19 MiB, with [`PASSES`] and [`LANES`] what the
/// [OWASP cheat sheet](https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html#argon2id)
/// asks for.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const ALGORITHM: Algorithm = Algorithm::Argon2id;
const VERSION: Version = Version::V0x13;

/// Passwords that may wait for each thread. At some 30 ms each the last waits two seconds.
const QUEUE_PER_THREAD: usize = 64;
/// How long a caller waits, in the queue and for the hash together.
const DEADLINE: Duration = Duration::from_secs(5);

/// Characters of a password that are judged.
const LONGEST_JUDGED: usize = 64;
/// What protects from guesses at a service that slows guessers down: more than a million guesses
/// (the scale of zxcvbn, 0 to 4).
const GOOD_ENOUGH: zxcvbn::Score = zxcvbn::Score::Two;

/// A hash of no password that anyone has, with the parameters above: what a log-in as an unknown
/// user is verified against.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5bm9ibw$kuTDfQZ0JXMGIRrrwUZCj8CWbAcr0mdNNgUk9zSTWpI";

/// The hasher. Its threads end when it is dropped and its queue is empty.
pub struct Argon2Passwords {
    queue: SyncSender<Job>,
    nobody: PasswordHash,
}

struct Job {
    _waiting: Waiting,
    work: Work,
    answer: oneshot::Sender<Result<Outcome, HashError>>,
}

/// Counts a password for as long as it waits or is hashed.
struct Waiting;

impl Waiting {
    fn begin() -> Self {
        gauge!(figures::PASSWORDS_WAITING).increment(1.0);
        Self
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        gauge!(figures::PASSWORDS_WAITING).decrement(1.0);
    }
}

enum Work {
    /// With what is known about its user.
    Judge(Password, Vec<String>),
    Hash(Password),
    Verify(Password, PasswordHash),
}

enum Outcome {
    Judged(bool),
    Hashed(PasswordHash),
    Verified(bool),
}

impl Argon2Passwords {
    /// Starts a thread for every two cores, one at least.
    ///
    /// # Errors
    /// If a thread can't be started.
    pub fn start() -> std::io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self::with((cores / 2).max(1), QUEUE_PER_THREAD)
    }

    fn with(threads: usize, queue_per_thread: usize) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel(threads * queue_per_thread);
        let jobs = Arc::new(Mutex::new(jobs));
        for n in 0..threads {
            let jobs = jobs.clone();
            thread::Builder::new().name(format!("passwords-{n}")).spawn(move || work_off(&jobs))?;
        }
        Ok(Self { queue, nobody: PasswordHash::new(NOBODY.to_owned()) })
    }

    async fn ask(&self, work: Work) -> Result<Outcome, HashError> {
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(Job { _waiting: Waiting::begin(), work, answer }).map_err(
            |error| match error {
                TrySendError::Full(_) => HashError::Busy,
                TrySendError::Disconnected(_) => HashError::Failed("its threads have ended".to_owned()),
            },
        )?;
        match timeout(DEADLINE, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_fell)) => Err(HashError::Failed("its thread fell".to_owned())),
            Err(_deadline) => Err(HashError::Busy),
        }
    }
}

#[async_trait]
impl PasswordHasher for Argon2Passwords {
    async fn hash(&self, password: &Password) -> Result<PasswordHash, HashError> {
        match self.ask(Work::Hash(password.clone())).await? {
            Outcome::Hashed(hash) => Ok(hash),
            Outcome::Verified(_) | Outcome::Judged(_) => {
                Err(HashError::Failed("an answer to another question".to_owned()))
            }
        }
    }

    async fn verify(&self, password: &Password, hash: &PasswordHash) -> Result<bool, HashError> {
        match self.ask(Work::Verify(password.clone(), hash.clone())).await? {
            Outcome::Verified(right) => Ok(right),
            Outcome::Hashed(_) | Outcome::Judged(_) => {
                Err(HashError::Failed("an answer to another question".to_owned()))
            }
        }
    }

    async fn is_guessable(&self, password: &Password, about: &[&str]) -> Result<bool, HashError> {
        let about = about.iter().filter(|text| !text.is_empty()).map(|text| (*text).to_owned()).collect();
        match self.ask(Work::Judge(password.clone(), about)).await? {
            Outcome::Judged(guessable) => Ok(guessable),
            _ => Err(HashError::Failed("an answer to another question".to_owned())),
        }
    }

    fn is_outdated(&self, hash: &PasswordHash) -> bool {
        let today = format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$");
        !hash.expose().starts_with(&today)
    }

    fn nobody(&self) -> &PasswordHash {
        &self.nobody
    }
}

fn work_off(jobs: &Mutex<Receiver<Job>>) {
    let mut memory = Memory::default();
    loop {
        // The lock is held while waiting; whoever gets it next waits in its place.
        let job = lock(jobs).recv();
        let Ok(Job { work, answer, _waiting }) = job else { return };
        // Whoever asked has gone, or was told that this takes too long.
        if answer.is_closed() {
            continue;
        }
        // A panic drops `answer`, which tells the caller; the thread goes on.
        let done = catch_unwind(AssertUnwindSafe(|| {
            let _ = answer.send(carry_out(&work, &mut memory));
        }));
        if done.is_err() {
            tracing::error!("hashing a password panicked");
        }
    }
}

fn carry_out(work: &Work, memory: &mut Memory) -> Result<Outcome, HashError> {
    match work {
        Work::Judge(password, about) => {
            // Its time grows faster than the length; what is longer than this is no weaker.
            let begin: String = password.expose().chars().take(LONGEST_JUDGED).collect();
            let about: Vec<&str> = about.iter().flat_map(|text| parts(text)).collect();
            Ok(Outcome::Judged(zxcvbn::zxcvbn(&begin, &about).score() < GOOD_ENOUGH))
        }
        Work::Hash(password) => {
            let (argon2, salt) = (argon2()?, phc::Salt::generate());
            let hash = phc::PasswordHash {
                algorithm: ALGORITHM.ident(),
                version: Some(VERSION.into()),
                params: phc::ParamsString::try_from(argon2.params()).map_err(failed)?,
                salt: Some(salt),
                hash: Some(memory.hash(password, &salt, &argon2)?),
            };
            Ok(Outcome::Hashed(PasswordHash::new(hash.to_string())))
        }
        Work::Verify(password, hash) => memory.verify(password, hash).map(Outcome::Verified),
    }
}

/// What a thread hashes in. Kept from one hash to the next: to get 19 MiB from the system and have
/// them zeroed takes a tenth as long as a hash. Every block is written before it is read.
#[derive(Default)]
struct Memory(Vec<Block>);

impl Memory {
    fn hash(
        &mut self,
        password: &Password,
        salt: &phc::Salt,
        argon2: &Argon2<'_>,
    ) -> Result<phc::Output, HashError> {
        let blocks = argon2.params().block_count();
        if self.0.len() < blocks {
            self.0.resize(blocks, Block::new());
        }
        let length = argon2.params().output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
        let mut out = vec![0; length];
        let (password, memory) = (password.expose().as_bytes(), &mut self.0[..blocks]);
        argon2.hash_password_into_with_memory(password, salt, &mut out, memory).map_err(failed)?;
        phc::Output::new(&out).map_err(failed)
    }

    fn verify(&mut self, password: &Password, hash: &PasswordHash) -> Result<bool, HashError> {
        let known = phc::PasswordHash::new(hash.expose()).map_err(failed)?;
        let (Some(salt), Some(right)) = (&known.salt, &known.hash) else {
            return Err(failed("a hash without its salt or its output"));
        };
        let algorithm = Algorithm::try_from(known.algorithm.as_str()).map_err(failed)?;
        let version = known.version.map_or(Ok(VERSION), Version::try_from).map_err(failed)?;
        let params = Params::try_from(&known).map_err(failed)?;
        // Its type compares in constant time.
        Ok(self.hash(password, salt, &Argon2::new(algorithm, version, params))? == *right)
    }
}

fn failed(error: impl ToString) -> HashError {
    HashError::Failed(error.to_string())
}

/// A text, and its words.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    std::iter::once(text).chain(text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 2))
}

fn argon2() -> Result<Argon2<'static>, HashError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(failed)?;
    Ok(Argon2::new(ALGORITHM, VERSION, params))
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    fn password(text: &str) -> Password {
        Password::parse(text.into()).unwrap()
    }

    fn parameters(hash: &PasswordHash) -> String {
        let parts: Vec<&str> = hash.expose().split('$').collect();
        parts[1..4].join("$")
    }

    #[tokio::test]
    async fn a_hash_verifies_its_password_only_and_has_a_salt_of_its_own() {
        let hasher = Argon2Passwords::start().unwrap();
        let hash = hasher.hash(&password("correct horse")).await.unwrap();
        assert_eq!(parameters(&hash), "argon2id$v=19$m=19456,t=2,p=1");
        assert!(hasher.verify(&password("correct horse"), &hash).await.unwrap());
        assert!(!hasher.verify(&password("correct house"), &hash).await.unwrap());
        assert_ne!(hasher.hash(&password("correct horse")).await.unwrap(), hash);
    }

    /// The memory is used again, so nothing of an earlier password may show in a later hash; told by
    /// another implementation, which begins with its own.
    #[tokio::test]
    async fn a_hash_is_the_same_whatever_was_hashed_before_it() {
        use argon2::PasswordVerifier as _;
        let hasher = Argon2Passwords::with(1, 8).unwrap();
        for text in ["a first one", "correct horse", "battery staple"] {
            let password = password(text);
            let hash = hasher.hash(&password).await.unwrap();
            let fresh = Argon2::default().verify_password(text.as_bytes(), hash.expose());
            assert_eq!(fresh, Ok(()), "{text}");
            // Hashes with less memory, and more, and other parameters come between.
            let small = Params::new(64, 3, 2, None).unwrap();
            let mut out = [0; 32];
            Argon2::new(ALGORITHM, VERSION, small.clone())
                .hash_password_into(text.as_bytes(), b"sixteen bytes 16", &mut out)
                .unwrap();
            let old = phc::PasswordHash {
                algorithm: ALGORITHM.ident(),
                version: Some(VERSION.into()),
                params: (&small).try_into().unwrap(),
                salt: Some(phc::Salt::new(b"sixteen bytes 16").unwrap()),
                hash: Some(phc::Output::new(&out).unwrap()),
            };
            let old = PasswordHash::new(old.to_string());
            assert_eq!(hasher.verify(&password, &old).await, Ok(true), "{text}");
        }
    }

    #[tokio::test]
    async fn verifying_nobody_costs_the_same_and_is_never_right() {
        let hasher = Argon2Passwords::start().unwrap();
        let hash = hasher.hash(&password("correct horse")).await.unwrap();
        assert_eq!(parameters(hasher.nobody()), parameters(&hash));
        assert_eq!(hasher.verify(&password("correct horse"), hasher.nobody()).await, Ok(false));
    }

    #[tokio::test]
    async fn what_is_no_hash_is_an_error_and_not_a_wrong_password() {
        let hasher = Argon2Passwords::start().unwrap();
        let verified = hasher.verify(&password("correct horse"), &PasswordHash::new("x".into())).await;
        assert!(matches!(verified, Err(HashError::Failed(_))), "{verified:?}");
    }

    #[tokio::test]
    async fn what_anyone_would_guess_is_weak() {
        let hasher = Argon2Passwords::start().unwrap();
        let about = ["ada.lovelace@example.org", "Ada Lovelace", ""];
        for weak in
            ["password", "Passw0rd", "12345678", "qwertyuiop", "lovelace1", "ada.lovelace@example.org"]
        {
            assert!(hasher.is_guessable(&password(weak), &about).await.unwrap(), "{weak}");
        }
        for good in ["correct horse battery", "a-fine-passphrase-12", "xK9#mQ2$vL", &"ä".repeat(128)] {
            let guessable = hasher.is_guessable(&password(good), &about).await.unwrap();
            assert_eq!(guessable, good.starts_with('ä'), "{good}");
        }
    }

    #[test]
    fn other_parameters_are_outdated() {
        let hasher = Argon2Passwords::with(1, 1).unwrap();
        assert!(!hasher.is_outdated(hasher.nobody()));
        for old in
            ["$argon2id$v=19$m=4096,t=2,p=1$c2FsdA$aGFzaA", "$argon2i$v=19$m=19456,t=2,p=1$x$y", "$2b$12$x"]
        {
            assert!(hasher.is_outdated(&PasswordHash::new(old.to_owned())), "{old}");
        }
    }

    #[tokio::test]
    async fn a_full_queue_answers_busy_at_once_and_the_rest_is_done() {
        let hasher = Argon2Passwords::with(1, 2).unwrap();
        let password = password("correct horse");
        let answers = join_all((0..20).map(|_| hasher.hash(&password))).await;
        let done = answers.iter().filter(|answer| answer.is_ok()).count();
        let busy = answers.iter().filter(|answer| **answer == Err(HashError::Busy)).count();
        // One or none is in the thread's hands by the time that the queue is full.
        assert!((2..=3).contains(&done), "{done}");
        assert_eq!(done + busy, 20);
        assert!(hasher.hash(&password).await.is_ok(), "there is room again");
    }
}
