//! A network that carries nothing for longer than every timeout, and then again.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine_broker::BrokerConfig;

use crate::process::signal;
use crate::scene::Scene;

/// Longer than any timeout of the pipeline, its session included.
const LONG: Duration = Duration::from_secs(9);

/// What stands between the engine and its broker: it passes everything on, or nothing at all. Connections stay open while
/// it is cut, as they do behind a firewall.
struct Cable {
    cut: Arc<AtomicBool>,
}

impl Cable {
    fn lay(listener: TcpListener, to: SocketAddr) -> Cable {
        let cut = Arc::new(AtomicBool::new(false));
        let is_cut = Arc::clone(&cut);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(to) else { continue };
                let pairs = [
                    (client.try_clone(), server.try_clone()),
                    (server.try_clone(), client.try_clone()),
                ];
                for (from, to) in pairs {
                    let (from, to) = (from.expect("a socket"), to.expect("a socket"));
                    let is_cut = Arc::clone(&is_cut);
                    std::thread::spawn(move || pass(from, to, &is_cut));
                }
            }
        });
        Cable { cut }
    }

    fn cut(&self, is_cut: bool) {
        self.cut.store(is_cut, Ordering::SeqCst);
    }
}

/// Bytes wait while the cable is cut, as in the buffers of two machines.
fn pass(mut from: TcpStream, mut to: TcpStream, is_cut: &AtomicBool) {
    let mut buffer = [0; 16 << 10];
    loop {
        let count = from.read(&mut buffer).unwrap_or(0);
        while is_cut.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
    }
}

#[test]
fn a_network_that_is_cut_for_longer_than_every_timeout_costs_nothing() {
    // Clients are told to connect to the broker's port at another address. That one is taken first: only this test uses the
    // other.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = listener.local_addr().unwrap();
    let mut scene = Scene::with_broker(BrokerConfig {
        listen: ([127, 0, 0, 2], here.port()).into(),
        advertised_host: Some("127.0.0.1".to_owned()),
        ..BrokerConfig::default()
    });
    let cable = Cable::lay(listener, scene.broker().address());
    scene.write_pipeline(&here.to_string());
    scene.produce(0..3);
    let mut engine = scene.start(&[]);
    scene.wait_for_rows(6);
    cable.cut(true);
    scene.produce(3..6);
    std::thread::sleep(LONG);
    cable.cut(false);
    scene.produce(6..9);
    // Either it is still there and goes on, or it has ended with a message.
    let ended = match engine.try_wait().expect("our own child") {
        Some(_) => scene.ended(engine),
        None => {
            std::thread::sleep(Duration::from_secs(3));
            signal_if_alive(&mut engine);
            scene.ended(engine)
        }
    };
    assert!(
        ended.code == Some(0) || (ended.code == Some(1) && ended.stderr.contains("error")),
        "{ended:?}"
    );
    scene.drains_exactly();
}

fn signal_if_alive(engine: &mut crate::process::Started) {
    if engine.try_wait().expect("our own child").is_none() {
        signal(engine, "TERM");
    }
}
