use http::HeaderName;
use tower_layer::Layer;

use crate::{IdFormat, RequestLogger};

/// Gives every request an id and a span.
///
/// See the [crate docs](crate).
#[derive(Clone, Debug)]
pub struct RequestLoggerLayer {
    options: Options,
}

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) header: HeaderName,
    pub(crate) format: IdFormat,
    pub(crate) trust_inbound: bool,
    pub(crate) forward: bool,
    pub(crate) query: bool,
}

impl RequestLoggerLayer {
    /// Ids from `x-request-id` or UUIDs of version 4, and a span without the query.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            options: Options {
                header: HeaderName::from_static("x-request-id"),
                format: IdFormat::V4,
                trust_inbound: true,
                forward: false,
                query: false,
            },
        }
    }

    /// The header that carries the id, in the request and in the response. Default: `x-request-id`.
    #[must_use]
    pub fn header_name(mut self, name: HeaderName) -> Self {
        self.options.header = name;
        self
    }

    /// The format of an id that is made here. Default: [`IdFormat::V4`].
    #[must_use]
    pub const fn id_format(mut self, format: IdFormat) -> Self {
        self.options.format = format;
        self
    }

    /// Whether a fit id in the request's header is taken. Default: `true`.
    ///
    /// Say `false` on a server that strangers reach directly, if nobody may choose the ids in its log.
    #[must_use]
    pub const fn trust_inbound(mut self, trust: bool) -> Self {
        self.options.trust_inbound = trust;
        self
    }

    /// Whether an id that is made here is put into the request's header, too. Default: `false`.
    ///
    /// It helps inner code that passes the request's headers on to another server, such as a proxy, and code that looks
    /// for the id there. It costs a header insert, and sometimes a larger header table, a request.
    #[must_use]
    pub const fn forward(mut self, forward: bool) -> Self {
        self.options.forward = forward;
        self
    }

    /// Whether the span has the query of the request's URI in a field `query`. Default: `false`, for queries hold secrets.
    #[must_use]
    pub const fn query(mut self, query: bool) -> Self {
        self.options.query = query;
        self
    }
}

impl Default for RequestLoggerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for RequestLoggerLayer {
    type Service = RequestLogger<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequestLogger::new(inner, self.options.clone())
    }
}
