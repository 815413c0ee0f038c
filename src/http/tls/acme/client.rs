//! How requests go to an authority: the HTTPS client that webhooks have, too.

use std::pin::Pin;
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use hyper::body::Bytes;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};

/// Longest request. Authorities answer within seconds, or are out of order.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A client of certificate authorities.
pub(super) struct Client(reqwest::Client);

impl Client {
    pub(super) fn new() -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .https_only(true)
            .timeout(REQUEST_TIMEOUT)
            .build()?;
        Ok(Self(client))
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>>;

impl HttpClient for Client {
    fn request(&self, request: Request<BodyWrapper<Bytes>>) -> Answer {
        let client = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let Ok(body) = body.collect().await;
            let request = Request::from_parts(head, body.to_bytes());
            let request = reqwest::Request::try_from(request).map_err(other)?;
            let response = client.execute(request).await.map_err(other)?;
            Ok(http::Response::<reqwest::Body>::from(response).into())
        })
    }
}

fn other(error: reqwest::Error) -> Error {
    Error::Other(Box::new(error))
}
