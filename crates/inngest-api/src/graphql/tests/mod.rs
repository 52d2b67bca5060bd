//! The schema against what clients know, and requests against a store.

mod hostile;
mod live;
mod reads;
mod requests;
mod runs;
mod schema;

use serde_json::{Value, json};

use crate::testing::{Reply, World};

impl World {
    async fn post(&self, body: Value) -> Reply {
        self.request("POST", "/v0/gql", &[("content-type", "application/json")], &body.to_string()).await
    }

    /// The whole answer to a document.
    async fn answer(&self, query: &str, variables: Value) -> Value {
        let reply = self.post(json!({ "query": query, "variables": variables })).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json()
    }

    /// The data of an answer without errors.
    async fn ask(&self, query: &str, variables: Value) -> Value {
        let mut answer = self.answer(query, variables).await;
        assert_eq!(answer.get("errors"), None, "{query}: {answer:#}");
        answer["data"].take()
    }

    /// Message and code of the one error of an answer, and its data.
    async fn fail(&self, query: &str, variables: Value) -> (String, String, Value) {
        let mut answer = self.answer(query, variables).await;
        let [error] = &answer["errors"].as_array().unwrap_or_else(|| panic!("{query}: {answer:#}"))[..] else {
            panic!("{answer:#}")
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        assert!(error["path"].is_array(), "{error}");
        (text(&error["message"]), text(&error["extensions"]["code"]), answer["data"].take())
    }
}
