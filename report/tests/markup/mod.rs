//! A reader of HTML as strict as these pages are written: every element is closed, attributes stand in double quotes.

/// What a page holds.
#[derive(Debug, Default)]
pub(crate) struct Found {
    elements: Vec<String>,
    pub(crate) ids: Vec<String>,
    pub(crate) links: Vec<String>,
    /// Attributes that run scripts.
    pub(crate) handlers: Vec<String>,
}

impl Found {
    pub(crate) fn count(&self, element: &str) -> usize {
        self.elements.iter().filter(|known| *known == element).count()
    }
}

/// Elements that have no end.
const VOID: [&str; 2] = ["meta", "br"];

/// Elements whose content is no markup.
const RAW: [&str; 2] = ["script", "style"];

/// Reads a page. Errors: where it is not well-formed.
pub(crate) fn read(page: &str) -> Result<Found, String> {
    let rest = page.strip_prefix("<!DOCTYPE html>\n").ok_or("it does not begin as a page")?;
    read_elements(rest, &VOID, &RAW)
}

/// Reads a picture. Errors: where it is not well-formed.
pub(crate) fn read_xml(text: &str) -> Result<Found, String> {
    read_elements(text, &[], &[])
}

fn read_elements(mut rest: &str, void: &[&str], raw: &[&str]) -> Result<Found, String> {
    let (mut found, mut open) = (Found::default(), Vec::<String>::new());
    while let Some(place) = rest.find('<') {
        let around = |text: &str| text.chars().take(120).collect::<String>();
        if rest[..place].contains('>') {
            return Err(format!("a bracket in the text before {}", around(&rest[place..])));
        }
        let tag = &rest[place + 1..];
        let end = end_of_tag(tag).ok_or_else(|| format!("no end of {}", around(tag)))?;
        let (inside, behind) = (&tag[..end], &tag[end + 1..]);
        rest = behind;
        if let Some(name) = inside.strip_prefix('/') {
            match open.pop() {
                Some(last) if last == name => continue,
                other => return Err(format!("</{name}> ends {other:?}")),
            }
        }
        let closed = inside.ends_with('/');
        let (name, attributes) = inside.trim_end_matches('/').split_once([' ', '\n']).unwrap_or((inside, ""));
        let name = name.trim_end_matches('/');
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(format!("no element is called {name:?}"));
        }
        found.elements.push(name.to_owned());
        note(&mut found, attributes)?;
        if raw.contains(&name) {
            let end = rest.find(&format!("</{name}>")).ok_or_else(|| format!("no end of <{name}>"))?;
            rest = &rest[end + name.len() + 3..];
        } else if !closed && !void.contains(&name) {
            open.push(name.to_owned());
        }
    }
    if open.is_empty() { Ok(found) } else { Err(format!("{open:?} have no end")) }
}

/// The place of the bracket that ends a tag; those in attributes do not.
fn end_of_tag(tag: &str) -> Option<usize> {
    let mut is_quoted = false;
    tag.char_indices().find_map(|(place, character)| {
        is_quoted ^= character == '"';
        (character == '>' && !is_quoted).then_some(place)
    })
}

fn note(found: &mut Found, attributes: &str) -> Result<(), String> {
    let mut rest = attributes.trim();
    while !rest.is_empty() {
        let end = rest.find(['=', ' ']).unwrap_or(rest.len());
        let name = &rest[..end];
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(format!("no attribute is called {name:?}"));
        }
        let Some(value) = rest[end..].strip_prefix('=') else {
            rest = rest[end..].trim_start();
            continue;
        };
        let value = value.strip_prefix('"').ok_or_else(|| format!("{name} has no quotes"))?;
        let (value, behind) = value.split_once('"').ok_or_else(|| format!("{name} has no end"))?;
        match name {
            "id" => found.ids.push(value.to_owned()),
            "href" | "src" => found.links.push(value.to_owned()),
            name if name.starts_with("on") => found.handlers.push(name.to_owned()),
            _ => {}
        }
        rest = behind.trim_start();
    }
    Ok(())
}
