//! A child that was taken over: it speaks its parent's language and lies. Which lie is in the name it is started under.

#![expect(clippy::unwrap_used, reason = "a liar that fails fails its test")]

use std::io::{Read as _, Write as _, stdout};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use tallymill_protocol::Outcome;
use tallymill_protocol::cbor::{Decoder, Encoder, Field as _};

struct Liar {
    stream: UnixStream,
}

impl Liar {
    /// The next frame's body; ends the process with the stream.
    fn hear(&mut self) -> Vec<u8> {
        let mut head = [0; 4];
        if self.stream.read_exact(&mut head).is_err() {
            std::process::exit(0);
        }
        let mut body = vec![0; u32::from_be_bytes(head) as usize];
        self.stream.read_exact(&mut body).unwrap();
        body
    }

    /// Waits for the next task and answers its number.
    fn task(&mut self) -> u32 {
        loop {
            let body = self.hear();
            let mut d = Decoder::new(&body);
            if [1, 5].contains(&d.uint().unwrap()) {
                return u32::decode(&mut d).unwrap();
            }
        }
    }

    fn say(&mut self, kind: u64, fields: impl FnOnce(&mut Encoder)) {
        let mut e = Encoder::default();
        e.uint(kind);
        fields(&mut e);
        let body = e.finish();
        let length = u32::try_from(body.len()).unwrap();
        self.raw(&[&length.to_be_bytes(), &body[..]].concat());
    }

    /// A parent that no longer listens has seen through it.
    fn raw(&mut self, bytes: &[u8]) {
        if self.stream.write_all(bytes).is_err() {
            std::process::exit(0);
        }
    }

    fn ready(&mut self) {
        self.say(0, |_| {});
    }

    fn progress(&mut self, number: u32, fuel: u64) {
        self.say(4, |e| {
            number.encode(e);
            e.uint(fuel);
        });
    }

    fn done(&mut self, number: u32, fuel: u64, input: u64, cpu: u64) {
        self.ended(number, Outcome::Exited(0), [fuel, input, cpu]);
    }

    fn ended(&mut self, number: u32, outcome: Outcome, [fuel, input, cpu]: [u64; 3]) {
        self.say(2, |e| {
            number.encode(e);
            outcome.encode(e);
            for value in [fuel, 65_536, 0, input, cpu] {
                e.uint(value);
            }
            e.bytes(b"forged");
            e.bytes(b"");
        });
    }

    fn run(&mut self, lie: &str) {
        self.hear();
        match lie {
            "answers-unasked" => return self.done(0, 1, 2, 1),
            "announces-four-gigabytes" => return self.raw(&[0xff; 64]),
            _ => self.ready(),
        }
        loop {
            let number = self.task();
            match lie {
                "answers-for-the-next" => self.done(number + 1, 1, 2, 1),
                "answers-twice" => (0..2).for_each(|_| self.done(number, 1, 2, 1)),
                "uses-too-much-fuel" => self.done(number, u64::MAX, 2, 1),
                "pauses" => self.ended(number, Outcome::Paused, [1, 2, 1]),
                "read-another-input" => self.done(number, 1, 3, 1),
                "claims-a-century" => self.done(number, 1, 2, 3_200_000_000_000_000),
                "goes-back" => [9, 8].into_iter().for_each(|fuel| self.progress(number, fuel)),
                "says-nothing-new" => loop {
                    self.progress(number, 7);
                },
                "loads-again" => self.ready(),
                _ => self.done(number, 1, 2, 1),
            }
        }
    }

    /// A compiled form that is none, for whatever module it was given.
    fn compile(&mut self, lie: &str) {
        self.hear();
        if lie == "announces-four-gigabytes" {
            return self.raw(&[0xff; 64]);
        }
        self.say(0, |e| {
            [7u8; 32].encode(e);
            e.array(0);
            e.array(0);
            (0..7).for_each(|_| e.uint(0));
            e.array(0);
            e.bytes(b"native code of an attacker");
        });
    }
}

fn main() {
    let mut arguments = std::env::args();
    let name = arguments.next().unwrap();
    let lie = name.rsplit('/').next().unwrap();
    let stream = UnixStream::from(stdout().as_fd().try_clone_to_owned().unwrap());
    let mut liar = Liar { stream };
    match arguments.next().as_deref() {
        Some("__run-child") => liar.run(lie),
        Some("__compile-child") => liar.compile(lie),
        _ => {}
    }
}
