//! A DNS server that knows the TXT records a test gives it, and answers over UDP and TCP. Long answers are cut short over
//! UDP where the test wants it, so that they have to be asked for again over TCP.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::TXT;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

/// What a name answers with.
#[derive(Clone, Debug)]
enum Answer {
    Txt(Vec<String>),
    /// Over TCP alone.
    LongTxt(Vec<String>),
    Failure,
}

#[derive(Default)]
struct Zone(Mutex<HashMap<String, Answer>>);

/// A running server; ends when dropped.
pub struct Dns {
    pub address: SocketAddr,
    zone: Arc<Zone>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Dns {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Dns {
    pub fn start() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime");
        let zone = Arc::new(Zone::default());
        let (tcp, udp) = runtime.block_on(ports());
        let address = udp.local_addr().expect("its address");
        runtime.spawn(serve_udp(udp, Arc::clone(&zone)));
        runtime.spawn(serve_tcp(tcp, Arc::clone(&zone)));
        Self { address, zone, runtime: Some(runtime) }
    }

    /// The TXT records of a name.
    pub fn txt(&self, name: &str, records: &[&str]) {
        self.set(name, Answer::Txt(records.iter().map(|record| (*record).to_owned()).collect()));
    }

    /// A TXT record that does not fit into an answer over UDP.
    pub fn long_txt(&self, name: &str, record: &str) {
        self.set(name, Answer::LongTxt(vec![record.to_owned()]));
    }

    /// A name whose servers fail.
    pub fn fail(&self, name: &str) {
        self.set(name, Answer::Failure);
    }

    fn set(&self, name: &str, answer: Answer) {
        self.zone.0.lock().expect("the zone").insert(name.to_owned(), answer);
    }
}

/// The same port for both.
async fn ports() -> (TcpListener, UdpSocket) {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().expect("its address")).await {
            return (tcp, udp);
        }
    }
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Zone>) {
    let mut buffer = vec![0; 4096];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
        if let Some(answer) = zone.answer(&buffer[..length], false) {
            // Who asked may have gone.
            let _ = socket.send_to(&answer, peer).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Zone>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let zone = Arc::clone(&zone);
        tokio::spawn(async move {
            while let Ok(length) = stream.read_u16().await {
                let mut question = vec![0; usize::from(length)];
                if stream.read_exact(&mut question).await.is_err() {
                    return;
                }
                let Some(answer) = zone.answer(&question, true) else { return };
                let length = u16::try_from(answer.len()).expect("a short answer").to_be_bytes();
                if stream.write_all(&[&length[..], &answer].concat()).await.is_err() {
                    return;
                }
            }
        });
    }
}

impl Zone {
    fn answer(&self, question: &[u8], over_tcp: bool) -> Option<Vec<u8>> {
        let asked = Message::from_vec(question).ok()?;
        let query = asked.queries.first()?.clone();
        let mut message = Message::response(asked.metadata.id, OpCode::Query);
        message.metadata.message_type = MessageType::Response;
        message.metadata.recursion_desired = true;
        message.metadata.recursion_available = true;
        message.add_query(query.clone());
        let name = query.name().to_ascii().to_ascii_lowercase();
        let known = self.0.lock().expect("the zone").get(name.trim_end_matches('.')).cloned();
        match known {
            _ if query.query_type() != RecordType::TXT => {}
            None => message.metadata.response_code = ResponseCode::NXDomain,
            Some(Answer::Failure) => message.metadata.response_code = ResponseCode::ServFail,
            Some(Answer::LongTxt(_)) if !over_tcp => message.metadata.truncation = true,
            Some(Answer::Txt(records) | Answer::LongTxt(records)) => {
                for record in records {
                    // As name servers keep them: strings of at most 255 octets.
                    let octets = record.into_bytes();
                    let strings = octets.chunks(255).map(<[u8]>::to_vec);
                    let strings = strings.map(|string| String::from_utf8(string).expect("ASCII")).collect();
                    let data = RData::TXT(TXT::new(strings));
                    message.add_answer(Record::from_rdata(query.name().clone(), 60, data));
                }
            }
        }
        message.to_vec().ok()
    }
}
