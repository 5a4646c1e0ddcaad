//! One operation, as it is said in the list of them, and as the document has it.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::schemas::{Schemas, reference};

/// Makes the schema of one type.
type Make = fn(&mut SchemaGenerator) -> Schema;

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// What comes in a body.
#[derive(Clone, Copy)]
enum Content {
    Like(Make),
    Bytes,
    Text,
}

/// Who may do it, and by which credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Everyone; a wrong bearer token is refused all the same.
    Anyone,
    /// Who may upload: clients, and whom the operator allowed it beside them.
    Uploader,
    /// Known clients.
    Client,
    /// Admins.
    Admin,
    /// Who has an invite.
    Invited,
    /// Who has an invite or a certificate, as EST says it.
    Est,
}

impl Who {
    fn security(self) -> Value {
        match self {
            Self::Anyone => json!([]),
            Self::Uploader => json!([{ "mutualTLS": [] }, { "bearer": [] }, {}]),
            Self::Client | Self::Admin => json!([{ "mutualTLS": [] }, { "bearer": [] }]),
            Self::Invited => json!([{ "invite": [] }]),
            Self::Est => json!([{ "inviteAsPassword": [] }, { "mutualTLS": [] }]),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Anyone => "For anyone.",
            Self::Uploader => "For clients; the operator may allow it to others.",
            Self::Client => "For clients.",
            Self::Admin => "For admins.",
            Self::Invited => "For whoever has an invite.",
            Self::Est => "For whoever has an invite, or a certificate to be renewed.",
        }
    }
}

/// One operation.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    who: Who,
    summary: &'static str,
    parameters: Vec<(&'static str, &'static str, Make)>,
    query: Option<Make>,
    takes: Vec<(&'static str, Content)>,
    takes_nothing_too: bool,
    answers: BTreeMap<u16, Answer>,
    problems: Vec<u16>,
}

#[derive(Default)]
struct Answer {
    content: Vec<(&'static str, Content)>,
    headers: &'static [&'static str],
}

/// An operation: the method, the path as the router has it, who may, and what it does.
pub(super) fn op(method: &'static str, path: &'static str, who: Who, summary: &'static str) -> Operation {
    Operation {
        method,
        path,
        who,
        summary,
        parameters: Vec::new(),
        query: None,
        takes: Vec::new(),
        takes_nothing_too: false,
        answers: BTreeMap::new(),
        problems: Vec::new(),
    }
}

impl Operation {
    /// The type of a part of the path; others are any text.
    pub(super) fn part<T: JsonSchema>(mut self, name: &'static str) -> Self {
        self.parameters.push(("path", name, of::<T>));
        self
    }

    /// A header it reads.
    pub(super) fn reads(self, name: &'static str) -> Self {
        self.reads_as(name, of::<String>)
    }

    /// A header it reads, of which not every text is taken.
    pub(super) fn reads_as(mut self, name: &'static str, schema: Make) -> Self {
        self.parameters.push(("header", name, schema));
        self
    }

    /// What the query may have: the fields of this type.
    pub(super) fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(of::<T>);
        self
    }

    /// A JSON body.
    pub(super) fn takes<T: JsonSchema>(self) -> Self {
        self.takes_as::<T>("application/json")
    }

    /// A body of this media type that is like this type.
    pub(super) fn takes_as<T: JsonSchema>(mut self, media: &'static str) -> Self {
        self.takes.push((media, Content::Like(of::<T>)));
        self
    }

    /// The body may be left out.
    pub(super) fn perhaps(mut self) -> Self {
        self.takes_nothing_too = true;
        self
    }

    /// A body of bytes.
    pub(super) fn takes_bytes(mut self, media: &'static str) -> Self {
        self.takes.push((media, Content::Bytes));
        self
    }

    /// An answer in JSON.
    pub(super) fn answers<T: JsonSchema>(self, status: u16) -> Self {
        self.answer(status, "application/json", Content::Like(of::<T>))
    }

    /// An answer in bytes.
    pub(super) fn answers_bytes(self, status: u16, media: &'static str) -> Self {
        self.answer(status, media, Content::Bytes)
    }

    /// An answer in text, PEM for one.
    pub(super) fn answers_text(self, status: u16, media: &'static str) -> Self {
        self.answer(status, media, Content::Text)
    }

    /// An answer without a body.
    pub(super) fn answers_nothing(mut self, status: u16) -> Self {
        self.answers.entry(status).or_default();
        self
    }

    fn answer(mut self, status: u16, media: &'static str, content: Content) -> Self {
        self.answers.entry(status).or_default().content.push((media, content));
        self
    }

    /// The headers of the answers so far that are not problems.
    pub(super) fn with(mut self, headers: &'static [&'static str]) -> Self {
        for answer in self.answers.values_mut() {
            answer.headers = headers;
        }
        self
    }

    /// The statuses of its own failures; those that all operations have are there by themselves.
    pub(super) fn problems(mut self, statuses: &[u16]) -> Self {
        self.problems.extend(statuses);
        self
    }

    /// The path as OpenAPI has it.
    pub(super) fn template(&self) -> String {
        self.path.replace("{*", "{")
    }

    /// As the document has it.
    pub(super) fn document(&self, schemas: &mut Schemas) -> Value {
        let mut whole = Map::new();
        whole.insert("operationId".to_owned(), self.id().into());
        whole.insert("summary".to_owned(), self.summary.into());
        whole.insert("description".to_owned(), self.who.words().into());
        whole.insert("security".to_owned(), self.who.security());
        whole.insert("parameters".to_owned(), self.said(schemas).into());
        if !self.takes.is_empty() {
            let content = content(&self.takes, &mut schemas.taken);
            let required = !self.takes_nothing_too;
            whole.insert("requestBody".to_owned(), json!({ "content": content, "required": required }));
        }
        whole.insert("responses".to_owned(), self.responses(schemas).into());
        whole.into()
    }

    fn id(&self) -> String {
        let words = self.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let method = self.method.to_ascii_lowercase();
        std::iter::once(method.as_str()).chain(words).collect::<Vec<_>>().join("_")
    }

    /// Parts of the path, headers and the query.
    fn said(&self, schemas: &mut Schemas) -> Vec<Value> {
        let template = self.template();
        let names = template.split('{').skip(1).filter_map(|rest| rest.split('}').next());
        let mut all = Vec::new();
        for name in names {
            let typed = self.parameters.iter().find(|(place, known, _)| *place == "path" && *known == name);
            let schema = match typed {
                Some((_, _, make)) => make(&mut schemas.taken).to_value(),
                None => json!({ "type": "string", "minLength": 1 }),
            };
            all.push(json!({ "name": name, "in": "path", "required": true, "schema": schema }));
        }
        for (_, name, make) in self.parameters.iter().filter(|(place, ..)| *place == "header") {
            let schema = make(&mut schemas.taken).to_value();
            all.push(json!({ "name": name, "in": "header", "required": false, "schema": schema }));
        }
        if let Some(make) = self.query {
            all.extend(schemas.fields(make).into_iter().map(|(name, mut schema)| {
                let description = schema.as_object_mut().and_then(|of| of.remove("description"));
                json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema })
            }));
        }
        all
    }

    fn responses(&self, schemas: &mut Schemas) -> Map<String, Value> {
        let mut all = Map::new();
        for (status, answer) in &self.answers {
            let mut headers: Map<String, Value> =
                answer.headers.iter().map(|name| ((*name).to_owned(), reference("headers", name))).collect();
            headers.insert("X-Request-ID".to_owned(), reference("headers", "X-Request-ID"));
            let mut response = json!({ "description": reason(*status), "headers": headers });
            if let Some(response) = response.as_object_mut().filter(|_| !answer.content.is_empty()) {
                response.insert("content".to_owned(), content(&answer.content, &mut schemas.answered).into());
            }
            all.insert(status.to_string(), response);
        }
        for status in self.failures() {
            all.insert(status.to_string(), reference("responses", &status.to_string()));
        }
        all.insert("5XX".to_owned(), reference("responses", "5XX"));
        all
    }

    /// Every status a problem may have: its own, and those that come of what stands before each operation.
    pub(super) fn failures(&self) -> Vec<u16> {
        // A wrong token; too many requests.
        let mut all = vec![401, 429];
        if self.who != Who::Anyone {
            all.push(403);
        }
        if self.method != "GET" {
            // A page from elsewhere.
            all.push(403);
        }
        if !self.takes.is_empty() {
            // A body that stops coming, or makes no sense, or is too long.
            all.extend([400, 408, 413]);
        }
        if self.takes.iter().any(|(_, content)| matches!(content, Content::Like(_))) {
            // JSON that is not said to be, or is something else.
            all.extend([415, 422]);
        }
        if self.query.is_some() || self.path.contains('{') {
            all.push(400);
        }
        all.extend(&self.problems);
        all.sort_unstable();
        all.dedup();
        all
    }
}

fn content(kinds: &[(&'static str, Content)], generator: &mut SchemaGenerator) -> Map<String, Value> {
    let one = |(media, content): &(&'static str, Content)| {
        let schema = match content {
            Content::Like(make) => json!({ "schema": make(generator).to_value() }),
            Content::Text => json!({ "schema": { "type": "string" } }),
            // As OpenAPI 3.1 has it: no schema is any bytes.
            Content::Bytes => json!({}),
        };
        ((*media).to_owned(), schema)
    };
    kinds.iter().map(one).collect()
}

/// What a status means.
pub(super) fn reason(status: u16) -> &'static str {
    let known = axum::http::StatusCode::from_u16(status).ok();
    known.and_then(|status| status.canonical_reason()).unwrap_or("Failure")
}
