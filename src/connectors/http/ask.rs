//! What is asked for in a reading request: which page, since when, by which values.

use url::Url;

use crate::connectors::Calls;
use crate::model::cursor::Cursor;
use crate::model::path::Path;
use crate::model::value::{Number, Value};
use crate::model::write::ConnectorError;

use super::HttpConnector;
use super::body::encode;
use super::call::{PathIds, Prepared, Reply};
use super::cursor::{self, Asked};
use super::page::{At, Run};
use super::read::fail;
use super::spec::{CursorSpec, Endpoint, FindSpec, ListSpec, PageKind, SearchBy, SearchForm};
use super::template::{Name, Values, fill_query, fill_tree, has_list_of_fields, number, to_text};

/// A reading request's address and body.
#[derive(Clone)]
pub(super) struct Ask {
    pub url: Url,
    pub body: Option<Value>,
}

impl HttpConnector {
    /// What asks for one page of a list, of everything or since a position.
    ///
    /// # Errors
    /// When the position cannot be asked for, or no URL comes of it.
    pub(super) fn ask_page(
        &self,
        list: &ListSpec,
        parent: Option<&Value>,
        since: Option<&Cursor>,
        run: &Run,
    ) -> Result<Ask, ConnectorError> {
        let values = Values { parent, ..Values::default() };
        // A list that was begun anew goes on from a position of its own.
        let from = run.from.as_deref().map(Cursor::new);
        let Some((spec, position)) = list.cursor.as_ref().zip(from.as_ref().or(since)) else {
            return self.compose_ask(list, run, values, None, &[]);
        };
        match cursor::asked(spec, position, from.is_none(), self.now())? {
            Asked::Url(url) => self.compose_ask(list, run, values, Some(&url), &[]),
            Asked::Position(text) => {
                let position = cursor_value(spec, &text);
                let param = spec.param.as_ref().map(|param| (param.clone(), to_text(&position)));
                let query: Vec<(String, String)> = spec.query.iter().cloned().chain(param).collect();
                let values = Values { cursor: Some(&position), ..values };
                self.compose_ask(list, run, values, None, &query)
            }
        }
    }

    /// What asks for one page of what a search finds.
    ///
    /// # Errors
    /// When no URL comes of it.
    pub(super) fn ask_found(&self, list: &ListSpec, searched: &Searched, run: &Run) -> Result<Ask, ConnectorError> {
        let values = Values { fields: &searched.fields, ..Values::default() };
        self.compose_ask(list, run, values, None, &searched.query)
    }

    /// A request for the page where a run stands. `values` are those of the request as a whole,
    /// `query` the parameters that belong to them; `first` is the URL of the first page where
    /// that is one by itself.
    fn compose_ask(
        &self,
        list: &ListSpec,
        run: &Run,
        values: Values<'_>,
        first: Option<&str>,
        query: &[(String, String)],
    ) -> Result<Ask, ConnectorError> {
        let page = page_value(&list.page.kind, run.at.as_ref());
        let size = list.page.size.as_ref().map(|(_, size)| *size);
        let values = Values { page: page.as_ref(), size, ..values };
        let body = list.body.as_ref().and_then(|body| fill_tree(body, &values));
        let next = match &run.at {
            Some(At::Url(next)) => Some(next.as_str()),
            Some(At::Number(_) | At::Token(_)) => None,
            None => first,
        };
        if let Some(next) = next {
            // Checked again: a token or a position is only a text.
            let url = self.caller.next_url(&self.caller.base, next).map_err(fail)?;
            return Ok(Ask { url, body });
        }
        let mut all = Vec::new();
        let is_alone = list.page.alone && run.at.is_some();
        if !is_alone {
            all.extend(fill_query(&list.endpoint.query, &values));
        }
        all.extend(size_param(list));
        if !is_alone {
            all.extend_from_slice(query);
        }
        all.extend(page_param(list, page.as_ref()));
        let parent = values.parent.map(to_text);
        let ids = PathIds { parent: parent.as_deref(), ..PathIds::default() };
        let url = self.caller.url(&list.endpoint.path, ids, &all).map_err(fail)?;
        Ok(Ask { url, body })
    }

    /// Sends a reading request within the budget.
    ///
    /// # Errors
    /// When there is no answer.
    pub(super) async fn ask(&self, calls: &Calls, endpoint: &Endpoint, ask: Ask) -> Result<Reply, ConnectorError> {
        let mut request = Prepared::to(endpoint, ask.url, &self.file.headers);
        request.body = ask.body.map(|body| encode(&request.headers, &body)).transpose().map_err(fail)?;
        self.send_read(calls, request).await
    }
}

/// A search, as far as it is the same for all its pages.
pub(super) struct Searched {
    /// The parameters of fields that are searched by parameters.
    query: Vec<(String, String)>,
    /// The side's names and the values of fields that are searched by name.
    fields: Vec<(String, Value)>,
}

impl Searched {
    /// A search for fields with these values.
    ///
    /// # Errors
    /// When the file declares no such search.
    pub fn new(find: &FindSpec, wanted: &[(Path, Value)]) -> Result<Self, String> {
        let (mut query, mut fields) = (Vec::new(), Vec::new());
        for (path, value) in wanted {
            let by = find.params.iter().find(|(other, _)| other == path).map(|(_, by)| by);
            match by.ok_or_else(|| format!("the connector file declares no search by '{path}'"))? {
                SearchBy::Params(params) => {
                    let text = search_text(find, path, value)?;
                    let filled =
                        params.iter().map(|(name, param)| (name.clone(), param.replace(Name::Value.as_str(), &text)));
                    query.extend(filled);
                }
                SearchBy::Name(name) => {
                    let text = search_text(find, path, value)?;
                    let is_text = find.encode != SearchForm::Text || matches!(value, Value::String(_));
                    fields.push((name.clone(), if is_text { Value::String(text) } else { value.clone() }));
                }
            }
        }
        let holds_list = find.list.body.as_ref().is_some_and(has_list_of_fields);
        if fields.len() > 1 && !holds_list {
            return Err("the connector file declares no search by several fields at once".to_owned());
        }
        Ok(Self { query, fields })
    }
}

/// A value as a search sends it.
fn search_text(find: &FindSpec, path: &Path, value: &Value) -> Result<String, String> {
    match (value, find.encode) {
        (value, SearchForm::Json) => Ok(value.to_json()),
        (Value::Null | Value::Array(_) | Value::Object(_), SearchForm::Text | SearchForm::Odata) => {
            Err(format!("'{path}' cannot be searched for {}", value.kind()))
        }
        (Value::String(text), SearchForm::Odata) => Ok(format!("'{}'", text.replace('\'', "''"))),
        (value, SearchForm::Text | SearchForm::Odata) => Ok(to_text(value)),
    }
}

/// The parameter that asks for the size of a page.
fn size_param(list: &ListSpec) -> Option<(String, String)> {
    let (param, size) = list.page.size.as_ref()?;
    Some((param.clone()?, size.to_string()))
}

/// The parameter that asks for a page.
fn page_param(list: &ListSpec, page: Option<&Value>) -> Option<(String, String)> {
    Some((list.page.kind.param()?.to_owned(), to_text(page?)))
}

/// What asks for a page after the first, or for the first where pages are counted.
fn page_value(kind: &PageKind, at: Option<&At>) -> Option<Value> {
    match (kind, at) {
        (PageKind::Page { first, .. }, None) => Some(number(*first)),
        (PageKind::Offset { .. }, None) => Some(number(0)),
        (_, Some(At::Number(at))) => Some(number(*at)),
        (_, Some(At::Token(token))) => Some(Value::string(token.as_str())),
        (_, Some(At::Url(_)) | None) => None,
    }
}

/// A position as it stands in a body: a number where it is one and the file gives it no other
/// form.
fn cursor_value(spec: &CursorSpec, text: &str) -> Value {
    match Number::parse(text) {
        Ok(number) if spec.is_number() => Value::Number(number),
        Ok(_) | Err(_) => Value::string(spec.format.replace(Name::Cursor.as_str(), text)),
    }
}
