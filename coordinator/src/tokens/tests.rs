//! Logins that must work and logins that must not.

use tallymill_protocol::Keypair;
use tallymill_protocol::cbor::Text;

use super::*;

type Change = fn(&mut Login);

const NOW: Micros = Micros(1_000_000);

fn tokens() -> Tokens {
    Tokens::new([9; 32], Key([1; 32]), TOKEN_LIFE)
}

fn answer(challenge: &Challenge) -> Login {
    Login {
        format: 1,
        audience: Key([1; 32]),
        origin: Text(challenge.origin.clone()),
        purpose: Text(challenge.purpose.name().to_owned()),
        nonce: challenge.nonce,
        expiry: challenge.expiry,
        signer: challenge.key,
    }
}

fn asked(tokens: &Tokens, pair: &Keypair) -> Challenge {
    tokens
        .challenge((pair.public(), Purpose::Api), "http://here:1".into(), Nonce([3; 16]), NOW)
        .unwrap()
}

#[test]
fn a_right_answer_gives_a_token_that_ends() {
    let (tokens, pair) = (tokens(), Keypair::from_secret(&[5; 32]));
    let session = tokens.login(&pair.sign(&answer(&asked(&tokens, &pair))), NOW).unwrap();
    let token = tokens.seal(&session);
    assert_eq!(tokens.unseal(&token, NOW), Ok(session));
    assert_eq!(tokens.unseal(&token, NOW.plus(TOKEN_LIFE)), Err(TokenError::Expired("token")));
}

#[test]
fn a_challenge_is_used_once_even_by_a_wrong_answer() {
    let (tokens, pair) = (tokens(), Keypair::from_secret(&[5; 32]));
    let login = pair.sign(&answer(&asked(&tokens, &pair)));
    let thief = Keypair::from_secret(&[6; 32]);
    assert!(matches!(
        tokens.login(&thief.sign(&login.peek().unwrap()), NOW),
        Err(TokenError::Signature(_))
    ));
    assert_eq!(tokens.login(&login, NOW), Err(TokenError::UnknownChallenge));
}

#[test]
fn an_expired_challenge_is_refused() {
    let (tokens, pair) = (tokens(), Keypair::from_secret(&[5; 32]));
    let login = pair.sign(&answer(&asked(&tokens, &pair)));
    assert_eq!(
        tokens.login(&login, NOW.plus(CHALLENGE_LIFE)),
        Err(TokenError::Expired("challenge"))
    );
}

#[test]
fn a_login_for_another_audience_origin_or_purpose_is_named() {
    let changes: [(&str, Change); 4] = [
        ("audience", |login| login.audience = Key([2; 32])),
        ("origin", |login| login.origin = Text("http://elsewhere".into())),
        ("purpose", |login| login.purpose = Text("worker".into())),
        ("expiry", |login| login.expiry = Micros(9)),
    ];
    for (name, change) in changes {
        let (tokens, pair) = (tokens(), Keypair::from_secret(&[5; 32]));
        let mut login = answer(&asked(&tokens, &pair));
        change(&mut login);
        let refused = tokens.login(&pair.sign(&login), NOW).unwrap_err();
        assert!(matches!(refused, TokenError::Relayed { field, .. } if field == name), "{refused}");
    }
}

#[test]
fn any_changed_digit_of_a_token_is_noticed() {
    let tokens = tokens();
    let token = tokens.seal(&Session {
        key: Key([7; 32]),
        purpose: Purpose::Worker,
        expires: Micros(u64::MAX),
    });
    for at in 0..token.len() {
        let digit = if &token[at..=at] == "0" { "1" } else { "0" };
        let changed = [&token[..at], digit, &token[at + 1..]].concat();
        assert_eq!(tokens.unseal(&changed, NOW), Err(TokenError::Forged), "digit {at}");
    }
    assert_eq!(tokens.unseal("", NOW), Err(TokenError::Forged));
    assert_eq!(
        Tokens::new([8; 32], Key([1; 32]), TOKEN_LIFE).unseal(&token, NOW),
        Err(TokenError::Forged)
    );
}

#[test]
fn a_link_opens_one_browser_session_in_time() {
    let tokens = tokens();
    let session = Session { key: Key([7; 32]), purpose: Purpose::Api, expires: Micros(9) };
    let text = "02".repeat(32);
    tokens.link(&session, [2; 32], NOW).unwrap();
    assert_eq!(tokens.follow(&text, NOW).unwrap().purpose, Purpose::Web);
    assert_eq!(tokens.follow(&text, NOW), Err(TokenError::Forged));
    tokens.link(&session, [2; 32], NOW).unwrap();
    assert_eq!(tokens.follow(&text, NOW.plus(LINK_LIFE)), Err(TokenError::Expired("link")));
}

#[test]
fn waiting_challenges_are_limited_and_expired_ones_make_room() {
    let tokens = tokens();
    let ask = |number: usize, now| {
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&number.to_be_bytes());
        tokens.challenge((Key([1; 32]), Purpose::Api), String::new(), Nonce(nonce), now)
    };
    (0..MAX_WAITING).for_each(|number| drop(ask(number, NOW).unwrap()));
    assert_eq!(ask(MAX_WAITING, NOW), Err(TokenError::Busy));
    assert!(ask(MAX_WAITING, NOW.plus(CHALLENGE_LIFE)).is_ok());
}
