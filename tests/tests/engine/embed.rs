//! What an engine that generates text says to those who want vectors.

use nabi_tests::engine::{self, Engine};
use nabi_tests::programs::demo_model;
use nabi_wire::engine::Refusal;

use crate::text;

#[tokio::test]
async fn a_chat_model_gives_no_embeddings_and_says_so() {
    let (_engine, mut client) = Engine::ready(&engine::config(&demo_model())).await;
    assert_eq!((client.card.generates, client.card.embedding_numbers), (true, None));
    let refusal = client.embed(vec![text("Hello")]).await.refusal();
    assert!(matches!(refusal, Refusal::Unable { .. }), "{refusal:?}");
}
