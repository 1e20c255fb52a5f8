//! Server-rendered pages: values in, HTML out. Nothing here reads a clock, storage or the network, and no page needs a script.

pub mod format;
#[cfg(test)]
mod tests;
pub mod views;

/// What a browser may load for a page: the style sheet and images of this origin, no script at all.
pub const CSP: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The style sheet, to be served as `text/css` at [`STYLE_PATH`].
pub const STYLE: &str = include_str!("../../static/style.css");

/// Where every page looks for its style sheet.
pub const STYLE_PATH: &str = "/static/style.css";

/// Media type of every page.
pub const MEDIA_TYPE: &str = "text/html; charset=utf-8";

/// A page that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The template failed.
    #[error("failed to render a page")]
    Template(#[from] askama::Error),
}

/// Headers of every page, names in lower case. Pages show what one account may see, so no cache keeps them.
#[must_use]
pub const fn headers() -> [(&'static str, &'static str); 5] {
    [
        ("content-type", MEDIA_TYPE),
        ("content-security-policy", CSP),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
    ]
}

/// The page as HTML. Control characters and marks that reorder text become U+FFFD, wherever they come from:
/// no page needs them, and a title that holds one could make its neighbours read otherwise.
///
/// # Errors
/// When the template fails.
pub fn render(page: &impl askama::Template) -> Result<String, RenderError> {
    let mut html = page.render()?;
    if html.contains(misleads) {
        html = html.replace(misleads, "\u{fffd}");
    }
    Ok(html)
}

/// Whether a character changes how the text around it is read: controls, and the explicit marks of
/// Unicode's bidirectional algorithm (UAX #9, section 2).
fn misleads(character: char) -> bool {
    let marks = matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    marks || (character.is_control() && character != '\n')
}
