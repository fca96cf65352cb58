//! A connection to MongoDB that can be cut at chosen messages, frozen and refused.
//!
//! It knows just enough of the [wire protocol](https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/)
//! to see the name of the command in a message.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bson::doc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Where the connection is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cut {
    /// The command never reaches the server.
    Request,
    /// The server executes it, and its reply is lost.
    Reply,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Open,
    /// Nothing moves, in either direction; connections stay.
    Frozen,
    /// Connections are closed, and new ones at once.
    Closed,
}

struct Inner {
    cuts: Mutex<VecDeque<(&'static str, Cut)>>,
    state: watch::Sender<State>,
}

/// The proxy of one test.
pub struct Proxy {
    address: SocketAddr,
    inner: Arc<Inner>,
}

impl Proxy {
    /// A proxy before the replica set's primary.
    pub async fn start(uri: &str) -> Self {
        let client = mongodb::Client::with_uri_str(uri).await.unwrap();
        let hello = client.database("admin").run_command(doc! { "hello": 1 }).await.unwrap();
        let primary = hello.get_str("primary").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner { cuts: Mutex::default(), state: watch::Sender::new(State::Open) });
        let accepting = Arc::clone(&inner);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *accepting.state.borrow() != State::Closed {
                    tokio::spawn(carry(Arc::clone(&accepting), client, primary.clone()));
                }
            }
        });
        Self { address, inner }
    }

    /// A URI that leads through this proxy and nowhere else.
    pub fn uri(&self) -> String {
        format!("mongodb://{}/?directConnection=true", self.address)
    }

    /// The next commands of these names are cut, in this order.
    pub fn cut(&self, cuts: impl IntoIterator<Item = (&'static str, Cut)>) {
        let mut planned = self.inner.cuts.lock().unwrap();
        planned.clear();
        planned.extend(cuts);
    }

    /// Cuts that were not met yet.
    pub fn left(&self) -> usize {
        self.inner.cuts.lock().unwrap().len()
    }

    pub fn freeze(&self) {
        self.inner.state.send_replace(State::Frozen);
    }

    pub fn close(&self) {
        self.inner.state.send_replace(State::Closed);
    }

    pub fn open(&self) {
        self.inner.state.send_replace(State::Open);
    }
}

async fn carry(inner: Arc<Inner>, client: TcpStream, primary: String) {
    let Ok(server) = TcpStream::connect(primary).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let cut_reply = Mutex::new(false);
    let mut state = inner.state.subscribe();
    // Whichever ends first ends the connection, as both halves are dropped then.
    tokio::select! {
        () = requests(&inner, from_client, to_server, &cut_reply) => {}
        () = replies(&inner, from_server, to_client, &cut_reply) => {}
        _ = state.wait_for(|state| *state == State::Closed) => {}
    }
}

async fn requests(inner: &Inner, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, cut_reply: &Mutex<bool>) {
    while let Some(message) = read(&mut from).await {
        thawed(inner).await;
        let planned = {
            let mut cuts = inner.cuts.lock().unwrap();
            let meets = cuts.front().is_some_and(|(name, _)| command_name(&message) == Some(*name));
            if meets { cuts.pop_front() } else { None }
        };
        match planned {
            Some((_, Cut::Request)) => return,
            Some((_, Cut::Reply)) => *cut_reply.lock().unwrap() = true,
            None => {}
        }
        if to.write_all(&message).await.is_err() {
            return;
        }
    }
}

async fn replies(inner: &Inner, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, cut_reply: &Mutex<bool>) {
    while let Some(message) = read(&mut from).await {
        thawed(inner).await;
        if *cut_reply.lock().unwrap() || to.write_all(&message).await.is_err() {
            return;
        }
    }
}

async fn thawed(inner: &Inner) {
    let _ = inner.state.subscribe().wait_for(|state| *state != State::Frozen).await;
}

async fn read(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length).await.ok()?;
    let mut message = length.to_vec();
    message.resize(usize::try_from(i32::from_le_bytes(length)).ok()?, 0);
    from.read_exact(&mut message[4..]).await.ok()?;
    Some(message)
}

/// The first name in the body of an OP_MSG: header 16, flags 4, section kind 1, length 4, type 1.
fn command_name(message: &[u8]) -> Option<&str> {
    let name = message.get(26..)?.split(|byte| *byte == 0).next()?;
    std::str::from_utf8(name).ok()
}
