//! An OpenAPI document as a page: rendered here, so that it needs no script and nothing of other sites.

use std::collections::BTreeMap;

use serde_json::Value;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1f2328;background:#fff}\
code,pre{background:#f1f3f5;padding:.1em .35em;border-radius:4px;font-size:.9em}pre{overflow:auto;padding:.6rem}\
table{border-collapse:collapse}td,th{text-align:left;vertical-align:top;padding:.2rem 1rem .2rem 0}h3{margin:2.5rem 0 .3rem}\
.method{display:inline-block;min-width:4.5rem}nav a{margin-right:1rem}\
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}code,pre{background:#21262d}a{color:#58a6ff}}";

/// The page of a document, as HTML.
pub(crate) fn page(document: &Value) -> String {
    let mut groups: BTreeMap<&str, Vec<(&str, &str, &Value)>> = BTreeMap::new();
    for (path, item) in members(&document["paths"]) {
        for (method, operation) in members(item) {
            groups.entry(text(&operation["tags"][0])).or_default().push((method, path, operation));
        }
    }
    let (title, root) =
        (escape(text(&document["info"]["title"])), text(&document["servers"][0]["url"]).trim_end_matches('/'));
    let mut html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><title>{title}</title>\
         <style>{STYLE}</style><h1>{title}</h1><p>{}<p>Version {}. <a href=\"{root}/openapi.json\">OpenAPI document</a><nav>",
        escape(text(&document["info"]["description"])),
        escape(text(&document["info"]["version"])),
    );
    for group in groups.keys() {
        html.push_str(&format!("<a href=\"#{0}\">{0}</a>", escape(group)));
    }
    html.push_str("</nav>");
    for (group, operations) in groups {
        html.push_str(&format!("<h2 id=\"{0}\">{0}</h2>", escape(group)));
        for (method, path, operation) in operations {
            add_operation(&mut html, method, &format!("{root}{path}"), operation);
        }
    }
    html.push_str("<h2 id=schemas>Schemas</h2>");
    for (name, schema) in members(&document["components"]["schemas"]) {
        let json = escape(&format!("{schema:#}"));
        html.push_str(&format!("<h3 id=\"{0}\">{0}</h3><pre>{json}</pre>", escape(name)));
    }
    html.push_str("</html>");
    html
}

fn add_operation(html: &mut String, method: &str, path: &str, operation: &Value) {
    let id = escape(text(&operation["operationId"]));
    let only = if operation["x-cloud-only"] == true { " (Inngest Cloud only)" } else { "" };
    html.push_str(&format!(
        "<h3 id=\"{id}\"><code class=method>{}</code> <code>{}</code></h3><p><b>{id}</b>: {}{only}<p>{}",
        method.to_ascii_uppercase(),
        escape(path),
        escape(text(&operation["summary"])),
        escape(text(&operation["description"])),
    ));
    let parameters: Vec<&Value> = operation["parameters"].as_array().into_iter().flatten().collect();
    if !parameters.is_empty() {
        html.push_str("<table><tr><th>Parameter<th>In<th>Type<th>Meaning");
    }
    for parameter in parameters {
        let required = if parameter["required"] == true { ", required" } else { "" };
        html.push_str(&format!(
            "<tr><td><code>{}</code><td>{}{required}<td>{}<td>{}",
            escape(text(&parameter["name"])),
            escape(text(&parameter["in"])),
            kind(&parameter["schema"]),
            escape(text(&parameter["description"])),
        ));
    }
    if operation["parameters"].is_array() {
        html.push_str("</table>");
    }
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    if !body.is_null() {
        html.push_str(&format!("<p>Body: {}", kind(body)));
    }
    html.push_str("<table><tr><th>Status<th>Reply<th>When");
    for (status, reply) in members(&operation["responses"]) {
        let kind = kind(&reply["content"]["application/json"]["schema"]);
        html.push_str(&format!("<tr><td>{status}<td>{kind}<td>{}", escape(text(&reply["description"]))));
    }
    html.push_str("</table>");
}

/// The type of a value in few words.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("<a href=\"#{0}\">{0}</a>", escape(name));
    }
    if schema["type"] == "array" {
        return format!("list of {}", kind(&schema["items"]));
    }
    if let Some(choices) = schema["enum"].as_array() {
        return choices
            .iter()
            .map(|choice| format!("<code>{}</code>", escape(text(choice))))
            .collect::<Vec<_>>()
            .join(" ");
    }
    escape(text(&schema["type"]))
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
