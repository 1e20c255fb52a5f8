//! The API's document (OpenAPI 3.1): handlers say what they take and answer, the table of routes says who may call them.

use std::sync::LazyLock;

use axum::Json;
use tallymill_protocol::PROTOCOL_VERSION;
use utoipa::openapi::header::Header;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, ObjectBuilder, Ref, RefOr, Required, ResponseBuilder, Type,
};
use utoipa::{OpenApi, PartialSchema as _, ToSchema as _};

use super::auth::VERSION_HEADER;
use super::model::{Cbor, Id, ProblemDocument, names, number32};
use super::{accounts, admin, blobs, events, health, hosts, jobs, journal, keep, login, results};
use crate::authz::{Body, ROUTES, Role, Route};

/// Documents the worker's call, whose messages are not JSON.
#[utoipa::path(
    post, path = "/api/v1/work",
    request_body(content = Cbor, content_type = "application/cbor", description = "A work request"),
    responses((
        status = 200, body = Cbor, content_type = "application/octet-stream",
        description = "Verdicts, leases, small inputs, and why there is no lease",
    )),
)]
#[expect(dead_code, reason = "only its documentation is used")]
const fn work() {}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tallymill coordinator",
        version = "1",
        license(name = "MIT OR Apache-2.0"),
        description = "Ids are hexadecimal; numbers that may pass 2⁵³ and amounts of credit are decimal strings.",
    ),
    paths(
        health::livez,
        health::readyz,
        health::metrics,
        serve,
        health::network,
        login::challenge,
        login::login,
        login::open,
        accounts::create,
        accounts::show,
        accounts::statement,
        journal::keys,
        journal::journal,
        journal::suspensions,
        accounts::rotate,
        accounts::revoke,
        hosts::join,
        hosts::list,
        hosts::show,
        blobs::upload,
        blobs::download,
        jobs::quote,
        jobs::submit,
        jobs::list,
        jobs::show,
        jobs::manifest,
        jobs::keys,
        jobs::why,
        jobs::tasks,
        jobs::task,
        jobs::output,
        jobs::log,
        results::results,
        jobs::receipts,
        jobs::cancel,
        keep::keep,
        keep::release,
        keep::holds,
        work,
        accounts::transfers,
        events::stream,
        admin::grant,
        admin::suspend,
        admin::lift,
        admin::approve,
        admin::audit,
    )
)]
struct Handlers;

/// Makes the document: what the handlers say, and what is true for every route.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = Handlers::openapi();
    for route in ROUTES.iter().filter(|route| route.documented()) {
        if let Some(operation) =
            document.paths.paths.get_mut(route.path).and_then(|item| operation(item, route.method))
        {
            complete(operation, route);
        }
    }
    let components = document.components.get_or_insert_with(Components::new);
    let bearer = Http::builder().scheme(HttpAuthScheme::Bearer).description(Some(
        "The token of POST /api/v1/login; it ends after an hour, and with the coordinator's process.",
    ));
    components.schemas.insert(ProblemDocument::name().into_owned(), ProblemDocument::schema());
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
    components.responses.insert("Problem".to_owned(), problem().into());
    document
}

/// The operation of a path with this method.
fn operation<'a>(item: &'a mut PathItem, method: &str) -> Option<&'a mut Operation> {
    match method {
        "get" => item.get.as_mut(),
        "put" => item.put.as_mut(),
        "post" => item.post.as_mut(),
        _ => None,
    }
}

fn complete(operation: &mut Operation, route: &Route) {
    operation.summary = Some(route.summary.to_owned());
    operation.operation_id = Some(name(route));
    operation.tags = None;
    let parameters = operation.parameters.get_or_insert_default();
    let names = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let own = names.map(in_path).chain(version(route));
    parameters.splice(0..0, own.map(RefOr::T));
    let role = names::text(route.role);
    let extensions = utoipa::openapi::extensions::Extensions::builder().add("x-role", role);
    let extensions = match route.body {
        Body::Most(bytes) => extensions.add("x-max-body", bytes),
        Body::None | Body::Blob => extensions,
    };
    operation.extensions.get_or_insert_default().merge(extensions.build());
    if route.role != Role::Public {
        operation.security = Some(vec![SecurityRequirement::new("bearer", [""; 0])]);
    }
    let problem = RefOr::Ref(Ref::from_response_name("Problem"));
    operation.responses.responses.insert("default".to_owned(), problem);
}

/// A name that no other call has: handlers of several modules are called `show`.
fn name(route: &Route) -> String {
    let parts = route.path.trim_start_matches("/api/v1").split(|c: char| !c.is_alphanumeric());
    let parts = parts.filter(|part| !part.is_empty());
    parts.fold(route.method.to_owned(), |name, part| format!("{name}_{part}"))
}

fn in_path(name: &str) -> Parameter {
    let (schema, description) = match name {
        "task" => (number32(), "Index of the task"),
        "digest" => (Ref::from_schema_name(Id::name()).into(), "BLAKE3 digest of the bytes"),
        _ => (Ref::from_schema_name(Id::name()).into(), "Id"),
    };
    let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path);
    parameter.required(Required::True).description(Some(description)).schema(Some(schema)).build()
}

/// The header that all but this document and the checks of health ask for.
fn version(route: &Route) -> Option<Parameter> {
    let asks = super::auth::asks_version(route.path);
    let parameter = ParameterBuilder::new().name(VERSION_HEADER).parameter_in(ParameterIn::Header);
    let description = "Version of the protocol that the caller speaks";
    let parameter = parameter.required(Required::True).description(Some(description));
    let spoken = ObjectBuilder::new().schema_type(Type::Integer);
    asks.then(|| parameter.schema(Some(spoken.enum_values(Some([PROTOCOL_VERSION])))).build())
}

fn problem() -> utoipa::openapi::Response {
    let schema = Ref::from_schema_name(ProblemDocument::name());
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let mut later = Header::new(u32::schema());
    later.description =
        Some("With 503 and 429: seconds after which to send the request again".to_owned());
    let problem = ResponseBuilder::new().description("What is wrong, and what to do (RFC 9457)");
    problem.content("application/problem+json", content).header("Retry-After", later).build()
}

static DOCUMENT: LazyLock<utoipa::openapi::OpenApi> = LazyLock::new(document);

#[utoipa::path(
    get, path = "/api/v1/openapi.json",
    responses((status = 200, content_type = "application/json", body = Object, description = "The document")),
)]
pub async fn serve() -> Json<&'static utoipa::openapi::OpenApi> {
    Json(&DOCUMENT)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn routes_and_document_list_the_same_calls() {
        let documented: BTreeSet<(String, &str)> = Handlers::openapi()
            .paths
            .paths
            .iter_mut()
            .flat_map(|(path, item)| {
                let methods = ["get", "put", "post"].into_iter();
                let methods: Vec<_> = methods.filter(|m| operation(item, m).is_some()).collect();
                methods.into_iter().map(|method| (path.clone(), method))
            })
            .collect();
        let served = ROUTES.iter().filter(|route| route.documented());
        let served: BTreeSet<_> =
            served.map(|route| (route.path.to_owned(), route.method)).collect();
        assert_eq!(documented, served);
    }

    #[test]
    fn calls_have_names_of_their_own() {
        let documented: Vec<&Route> = ROUTES.iter().filter(|route| route.documented()).collect();
        let names: BTreeSet<String> = documented.iter().map(|route| name(route)).collect();
        assert_eq!(names.len(), documented.len());
        assert!(names.contains("get_jobs_id_tasks_task"), "{names:?}");
    }
}
