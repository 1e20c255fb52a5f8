//! SQL lives in `.sql` files, where it can be read, prepared and tested on each back end.

use super::Violation;
use super::source::SourceFile;
use super::tokens::{self, Token};

/// How statements begin. Two words each, so that prose in capitals does not match.
const STATEMENTS: [&str; 9] = [
    "SELECT ",
    "INSERT INTO ",
    "INSERT OR ",
    "UPDATE ",
    "DELETE FROM ",
    "CREATE TABLE ",
    "CREATE INDEX ",
    "ALTER TABLE ",
    "DROP TABLE ",
];

/// Functions of sqlx that take a statement.
const TAKERS: [&str; 5] = ["query", "query_as", "query_scalar", "query_with", "raw_sql"];

/// Statements in string literals, and statements put together at run time.
pub(crate) fn check(file: &SourceFile) -> Vec<Violation> {
    let tokens = tokens::of(file);
    let literals = tokens.iter().filter(|token| is_statement(token)).map(|token| token.line);
    let built = TAKERS.iter().flat_map(|taker| built_statements(&tokens, taker));
    literals
        .map(|line| (line, "move the statement to a .sql file"))
        .chain(built.map(|line| (line, "do not build SQL at run time; bind parameters")))
        .filter(|(line, _)| !file.is_test(*line))
        .filter_map(|(line, advice)| file.violation(line, "sql", advice))
        .collect()
}

fn is_statement(token: &Token) -> bool {
    let text = tokens::string(token).unwrap_or_default();
    let text = text.trim_start();
    STATEMENTS.iter().any(|start| text.starts_with(start) && text.len() > start.len())
        || (text.starts_with("WITH ") && text.contains(" AS ("))
}

fn built_statements<'a>(tokens: &'a [Token], taker: &'a str) -> impl Iterator<Item = usize> + 'a {
    let starts = tokens.windows(2).enumerate();
    starts
        .filter(move |(_, pair)| pair[0].text == taker && pair[1].text == "(")
        .filter(|(index, _)| {
            let argument = tokens[index + 2..].iter().take(5);
            argument.take_while(|t| t.text != ")").any(|t| t.text == "format")
        })
        .map(|(_, pair)| pair[0].line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> usize {
        check(&SourceFile::parse("a/src/lib.rs", text.to_owned()).unwrap()).len()
    }

    #[test]
    fn statements_in_literals_are_found() {
        assert_eq!(found("const A: &str = \"SELECT 1\";"), 1);
        assert_eq!(found("fn f() { q(r#\"\n  INSERT INTO t VALUES (1)\"#); }"), 1);
        assert_eq!(found("const A: &str = \"WITH x AS (y) z\";"), 1);
        assert_eq!(found("#[test]\nfn f() { q(\"SELECT 1\"); }"), 0);
        assert_eq!(found("const A: &str = \"Select one; WITHOUT\";"), 0);
        assert_eq!(found("const A: &str = include_str!(\"a.sql\");"), 0);
    }

    #[test]
    fn statements_built_at_run_time_are_found() {
        assert_eq!(found("fn f() { sqlx::query(&format!(\"{x}\")); }"), 1);
        assert_eq!(found("fn f() { query_as(AssertSqlSafe(format!(\"{x}\"))); }"), 1);
        assert_eq!(found("fn f() { query(A).bind(format!(\"{x}\")); }"), 0);
    }
}
