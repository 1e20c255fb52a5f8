//! Pages stay whole under hostile text, say their numbers, and hide what is undecided.

use std::collections::BTreeSet;

use tallymill_ledger::Amount;
use tallymill_protocol::Micros;

use super::format::{count, credits, machine, moment, relative, short, tone};
use super::views::*;
use super::{CSP, STYLE, STYLE_PATH, headers, misleads, render};

const NOW: Micros = Micros(1_772_368_205 * Micros::SECOND);

const PAYLOADS: [&str; 20] = [
    "<script>alert(1)</script>",
    "</script><script src=//evil.example></script>",
    "</title><h1>other</h1>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "\" onfocus=\"alert(1)\" autofocus=\"",
    "<svg/onload=alert(1)>",
    "<!-- hidden",
    "--><b>shown",
    "<![CDATA[x]]>",
    "&lt;script&gt;",
    "&#x3c;b&#x3e;",
    "{{ frame.network }}{% block x %}",
    "javascript:alert(1)",
    "</p></main></body></html>",
    "<style>*{display:none}</style>",
    "<meta http-equiv=refresh content=0>",
    "<base href=//evil.example>",
    "`${alert(1)}`",
    "שלום <b>עולם</b>",
];

/// Each payload alone, behind a way out of an attribute, and among marks and controls.
fn hostile() -> Vec<String> {
    let wrap = |p: &&str| {
        [(*p).to_owned(), format!("a'\">{p}"), format!("\u{202e}\0{p}\u{1b}[2J\r\u{2066}\u{85}")]
    };
    PAYLOADS.iter().flat_map(wrap).collect()
}

fn frame(text: &str) -> Frame {
    Frame { network: text.into(), account: Some(text.into()), now: NOW }
}

const BOOKS: Books = Books { sum: Amount::ZERO, offences: 0, transfers: 812_344, at: NOW };

fn network(text: &str) -> NetworkPage {
    NetworkPage {
        frame: frame(text),
        coordinator: text.into(),
        epoch: 7,
        admission: text.into(),
        jobs_running: 12,
        hosts_online: 1_234,
        leases: 9_876_543,
        ready: true,
        books: Some(BOOKS),
    }
}

fn jobs(text: &str) -> JobsPage {
    let row = JobRow {
        id: text.into(),
        title: text.into(),
        state: text.into(),
        payer: text.into(),
        submitted: Micros(NOW.0 - 180 * Micros::SECOND),
        tasks: 100_000,
        decided: 54_321,
        failed: 3,
    };
    JobsPage {
        frame: frame(text),
        rows: vec![row],
        filter: JobsFilter { state: text.into(), payer: text.into() },
        next: Some(text.into()),
    }
}

fn task(text: &str, decided: bool) -> TaskRow {
    TaskRow {
        index: 41_007,
        state: text.into(),
        fuel: 2,
        reason: text.into(),
        decided,
        output: Some(text.into()),
    }
}

fn job(text: &str) -> JobPage {
    JobPage {
        frame: frame(text),
        id: text.into(),
        title: text.into(),
        state: text.into(),
        payer: text.into(),
        submitted: NOW,
        error: Some(JobError {
            task: Some(5),
            what: text.into(),
            why: text.into(),
            next: text.into(),
        }),
        totals: JobTotals {
            tasks: 2_299,
            waiting: 200,
            working: 90,
            provisional: 9,
            done: 1_990,
            failed: 10,
            fuel: 123_456_789,
        },
        cost: JobCost {
            held: Amount::new(10_000_000_000),
            paid: Amount::new(1_234_500_000),
            returned: Amount::new(65_500_000),
        },
        policy: text.into(),
        reasons: vec![Reason { tasks: 1_200, text: text.into() }],
        tasks: Some(vec![task(text, true)]),
        next: Some(text.into()),
        kept: Some(ResultsKept::Until(NOW)),
    }
}

fn task_page(text: &str, decided: bool) -> TaskPage {
    let attempt = AttemptRow {
        id: text.into(),
        host: text.into(),
        state: text.into(),
        fuel: 7_654_321,
        output: Some(text.into()),
        verdict: text.into(),
    };
    TaskPage {
        frame: frame(text),
        job: text.into(),
        title: text.into(),
        task: task(text, decided),
        attempts: vec![attempt],
    }
}

fn account(text: &str) -> AccountPage {
    let line = StatementLine {
        transfer: 4_321,
        at: NOW,
        kind: text.into(),
        bucket: text.into(),
        amount: Amount::new(-2_500_000),
        job: Some(text.into()),
        evidence: text.into(),
    };
    AccountPage {
        frame: frame(text),
        id: text.into(),
        state: text.into(),
        available: Amount::new(1_234_567_890),
        pending: Amount::new(250_000),
        reserved: Amount::ZERO,
        lines: vec![line],
        next: Some(text.into()),
    }
}

fn error(text: &str) -> ErrorPage {
    ErrorPage {
        frame: frame(text),
        status: 404,
        title: text.into(),
        detail: text.into(),
        next: text.into(),
    }
}

fn sign_in(text: &str) -> SignInPage {
    SignInPage { frame: frame(text), url: text.into(), reason: text.into() }
}

/// Every page with `text` in every field that holds text.
fn filled(text: &str) -> Vec<String> {
    vec![
        render(&network(text)).unwrap(),
        render(&jobs(text)).unwrap(),
        render(&job(text)).unwrap(),
        render(&task_page(text, true)).unwrap(),
        render(&task_page(text, false)).unwrap(),
        render(&account(text)).unwrap(),
        render(&error(text)).unwrap(),
        render(&sign_in(text)).unwrap(),
    ]
}

/// Every page as it is with nothing to show.
fn empty() -> Vec<String> {
    vec![
        render(&NetworkPage::default()).unwrap(),
        render(&JobsPage::default()).unwrap(),
        render(&JobPage { tasks: Some(Vec::new()), ..JobPage::default() }).unwrap(),
        render(&TaskPage::default()).unwrap(),
        render(&AccountPage::default()).unwrap(),
        render(&ErrorPage::default()).unwrap(),
        render(&SignInPage::default()).unwrap(),
    ]
}

/// The markup with text and attribute values left out: what text must never change.
fn skeleton(html: &str) -> String {
    let (mut out, mut tag, mut quoted) = (String::new(), false, false);
    for character in html.chars() {
        match (tag, quoted, character) {
            (false, _, '<') => tag = true,
            (true, false, '>') => tag = false,
            (true, _, '"') => quoted = !quoted,
            (true, false, _) => {}
            _ => continue,
        }
        out.push(character);
    }
    out
}

fn escaped(text: &str) -> String {
    let text = text.replace(misleads, "\u{fffd}").replace('&', "&#38;").replace('"', "&#34;");
    text.replace('\'', "&#39;").replace('<', "&#60;").replace('>', "&#62;")
}

#[test]
fn a_skeleton_sees_what_text_could_add() {
    assert_eq!(skeleton("<a title=\"x\">y</a>"), skeleton("<a title=\"z<\">&#60;</a>"));
    assert_ne!(skeleton("<p>x</p>"), skeleton("<p><b></p>"));
    assert_ne!(skeleton("<a title=\"x\">"), skeleton("<a title=\"x\" onclick=\"y\">"));
}

#[test]
fn hostile_text_changes_no_markup_on_any_page() {
    let plain: Vec<_> = filled("x").iter().map(|html| skeleton(html)).collect();
    let texts = hostile();
    assert_eq!(texts.iter().collect::<BTreeSet<_>>().len(), 60);
    for text in &texts {
        for (html, plain) in filled(text).iter().zip(&plain) {
            assert_eq!(&skeleton(html), plain, "{text:?}");
            assert!(html.contains(&escaped(text)), "{text:?} is not shown");
            assert!(!html.contains(misleads), "{text:?}");
        }
    }
}

#[test]
fn every_page_has_language_title_viewport_and_one_heading() {
    for html in filled("x").iter().chain(&empty()) {
        assert!(html.starts_with("<!doctype html>\n<html lang=\"en\">"), "{html}");
        for once in ["<title>", "<meta name=\"viewport\"", "<h1", "<main ", "<nav "] {
            assert_eq!(html.matches(once).count(), 1, "{once} in {html}");
        }
        assert!(html.contains(&format!("href=\"{STYLE_PATH}\"")));
        assert_eq!(html.matches("<table>").count(), html.matches("class=\"scroll\"").count());
    }
}

#[test]
fn no_page_needs_what_the_policy_forbids() {
    for html in filled("x").iter().chain(&empty()) {
        for forbidden in ["<script", "<style", " style=", " onclick=", "javascript:", "http://"] {
            assert!(!html.contains(forbidden), "{forbidden} in {html}");
        }
    }
    assert!(CSP.starts_with("default-src 'none';") && !CSP.contains("unsafe"));
    assert!(headers().contains(&("content-security-policy", CSP)));
    assert!(headers().contains(&("x-content-type-options", "nosniff")));
}

#[test]
fn the_network_says_whether_its_books_balance() {
    let html = render(&network("mill")).unwrap();
    for part in ["1,234", "9,876,543", "Σ = 0 over", "812,344", "12"] {
        assert!(html.contains(part), "{part}");
    }
    assert!(!html.contains("role=\"alert\""));
    for (sum, offences) in [(-1, 0), (0, 2)] {
        let books = Some(Books { sum: Amount::new(sum), offences, ..BOOKS });
        let html = render(&NetworkPage { books, ..network("mill") }).unwrap();
        let alert = format!("role=\"alert\">Σ = {} over", credits(&Amount::new(sum)));
        assert!(html.contains(&alert) && html.contains("do not balance"), "{html}");
    }
    let html = render(&NetworkPage { books: None, ready: false, ..network("mill") }).unwrap();
    assert!(html.contains("Not examined") && html.contains("Not ready") && !html.contains('Σ'));
}

#[test]
fn tasks_that_may_not_be_seen_are_not_called_absent() {
    let html = render(&JobPage { tasks: None, ..job("x") }).unwrap();
    assert!(html.contains("tallymill open") && !html.contains("No decided tasks"));
}

#[test]
fn a_job_shows_its_error_first_then_its_numbers() {
    let html = render(&JobPage { title: "primes".into(), ..job("x") }).unwrap();
    let place = |part: &str| html.find(part).unwrap_or_else(|| panic!("{part} in {html}"));
    assert!(place("First error") < place("2,000 of 2,299 tasks decided"));
    assert!(place("10,000<") < place("1,234.5<") && place("1,234.5<") < place("65.5<"));
    assert!(place("65.5<") < place("8,700<"), "still held follows");
    assert!(place("<progress max=\"2299\" value=\"2000\"") < place("123,456,789 fuel"));
    assert!(html.contains("1,200: <bdi>x</bdi>") && html.contains(">41,007</a>"));
    assert!(html.contains("href=\"/jobs/x?x\""));
}

#[test]
fn a_job_says_what_becomes_of_its_results() {
    let html = |kept| render(&JobPage { kept, ..job("x") }).unwrap();
    let gone = html(Some(ResultsKept::Gone(NOW)));
    assert!(gone.contains("The results of this job were collected"), "{gone}");
    assert!(!gone.contains("41,007"), "no task is listed");
    assert!(html(Some(ResultsKept::Held)).contains("tallymill job release x"));
    assert!(html(Some(ResultsKept::Until(NOW))).contains("tallymill job keep x"));
    assert!(html(Some(ResultsKept::Forever)).contains("kept for ever"));
    assert!(!html(None).contains("<dt>Results</dt>"));
}

#[test]
fn an_output_stays_hidden_until_its_task_is_decided() {
    let secret = "0123456789abcdef";
    let row = |decided| TaskRow { output: Some(secret.into()), ..task("x", decided) };
    let listed =
        |decided| render(&JobPage { tasks: Some(vec![row(decided)]), ..job("x") }).unwrap();
    assert!(listed(true).contains(&format!("<code title=\"{secret}\">0123456789…</code>")));
    assert!(!listed(false).contains("0123456789"));
    let shown = |decided| {
        let mut page = TaskPage { task: row(decided), ..task_page("x", decided) };
        page.attempts[0].output = Some(secret.into());
        render(&page).unwrap()
    };
    assert!(shown(true).contains(secret) && shown(true).contains("7,654,321"));
    assert!(shown(true).contains("/api/v1/jobs/x/receipts/41007"));
    for hidden in ["0123456789", "7,654,321", "/receipts/"] {
        assert!(!shown(false).contains(hidden), "{hidden}");
    }
}

#[test]
fn an_account_leads_from_credit_to_jobs_and_evidence() {
    let html = render(&account("x")).unwrap();
    for part in ["1,234.56789<", "0.25<", ">-2.5<", "#4,321", "href=\"/jobs/x\""] {
        assert!(html.contains(part), "{part} in {html}");
    }
}

#[test]
fn the_filter_in_force_stays_chosen() {
    let filter = JobsFilter { state: "finished".into(), payer: String::new() };
    let html = render(&JobsPage { filter, ..JobsPage::default() }).unwrap();
    assert!(html.contains("<option value=\"finished\" selected>"));
    assert_eq!(html.matches(" selected").count(), 1);
    assert!(html.contains("No job matches"));
}

#[test]
fn what_is_empty_names_the_next_command() {
    let commands =
        ["worker --help", "submit --help", "job watch", "job why", "worker --help", "", "open"];
    for (html, command) in empty().iter().zip(commands) {
        let named = html.contains(&format!("<code>tallymill {command}"));
        assert!(named || command.is_empty(), "{command} in {html}");
    }
    let nobody = &empty()[0];
    assert!(nobody.contains("Sign in") && !nobody.contains("href=\"/accounts/"));
}

#[test]
fn credits_keep_every_micro_credit() {
    let cases = [
        (0, "0"),
        (1, "0.000001"),
        (-1, "-0.000001"),
        (1_250_000, "1.25"),
        (-999_000_000, "-999"),
        (-1_234_567_000_010, "-1,234,567.00001"),
        (i64::MAX, "9,223,372,036,854.775807"),
        (i64::MIN, "-9,223,372,036,854.775808"),
    ];
    for (micros, text) in cases {
        assert_eq!(credits(&Amount::new(micros)), text);
    }
}

#[test]
fn counts_are_grouped_by_thousands() {
    let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (100_000, "100,000")];
    for (number, text) in cases {
        assert_eq!(count(&number), text);
    }
    assert_eq!(count(&u64::MAX), "18,446,744,073,709,551,615");
}

#[test]
fn moments_follow_the_calendar() {
    let cases = [
        (0, "1970-01-01 00:00:00 UTC"),
        (951_782_399, "2000-02-28 23:59:59 UTC"),
        (951_782_400, "2000-02-29 00:00:00 UTC"),
        (1_772_368_205, "2026-03-01 12:30:05 UTC"),
        (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        (1_735_689_599, "2024-12-31 23:59:59 UTC"),
    ];
    for (seconds, text) in cases {
        assert_eq!(moment(&Micros(seconds * Micros::SECOND)), text);
    }
    assert_eq!(machine(&NOW), "2026-03-01T12:30:05Z");
    assert!(moment(&Micros(u64::MAX)).ends_with(" UTC"));
}

#[test]
fn relative_times_name_their_side() {
    let at = |seconds: u64| Micros(seconds * Micros::SECOND);
    let cases = [
        (1_000, 1_004, "just now"),
        (1_000, 1_005, "5 s ago"),
        (1_000, 1_060, "1 min ago"),
        (1_000, 4_600, "1 h ago"),
        (0, 172_800, "2 days ago"),
        (11_800, 1_000, "in 3 h"),
    ];
    for (moment, now, text) in cases {
        assert_eq!(relative(&at(moment), &at(now)), text);
    }
}

#[test]
fn ids_are_cut_between_characters() {
    assert_eq!(short("0123456789"), "0123456789");
    assert_eq!(short("éééééééééééé"), "éééééééééé…");
}

#[test]
fn a_state_nobody_knows_has_a_plain_colour() {
    assert_eq!([tone("final"), tone("failed"), tone("\" onclick")], ["good", "bad", "plain"]);
}

/// Relative luminance of `#rrggbb` (WCAG 2.2, "relative luminance").
fn luminance(colour: &str) -> f64 {
    let channel = |place: usize| {
        let value = f64::from(u8::from_str_radix(&colour[place..place + 2], 16).unwrap()) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
}

#[test]
fn colours_contrast_enough_in_light_and_dark() {
    let themes: Vec<&str> = STYLE.split(":root").skip(1).collect();
    assert_eq!(themes.len(), 2);
    for theme in themes {
        let colour = |name: &str| {
            let start = theme.find(&format!("--{name}: #")).unwrap() + name.len() + 4;
            luminance(&theme[start..start + 7])
        };
        for (ground, inks) in [
            ("page", &["text", "soft", "link", "good", "bad", "busy"][..]),
            ("raised", &["text", "soft", "link"]),
            ("alert", &["text", "link"]),
        ] {
            for ink in inks {
                let (a, b) = (colour(ground), colour(ink));
                let ratio = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                assert!(ratio >= 4.5, "{ink} on {ground}: {ratio:.2}");
            }
        }
    }
}
