//! The routes, with a note of which requests run.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use crate::places::Activity;

/// For one connection.
#[derive(Clone)]
pub(super) struct Counted {
    router: TowerToHyperService<Router>,
    activity: Arc<Activity>,
}

impl Counted {
    pub(super) fn new(router: Router, activity: Arc<Activity>) -> Self {
        Self { router: TowerToHyperService::new(router), activity }
    }
}

impl Service<hyper::Request<Incoming>> for Counted {
    type Response = hyper::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let running = self.activity.begin();
        let answered = self.router.call(request);
        Box::pin(async move {
            let response = answered.await?;
            Ok(response.map(|body| {
                Body::new(body.map_frame(move |frame| {
                    // Held until hyper drops the body.
                    let _ = &running;
                    frame
                }))
            }))
        })
    }
}
