//! Middleware: what is done with a request on its way to an upstream, and with its answer on the way back.
//!
//! A [`Chain`] is the settings of one place, with everything prepared that a request would have to compute; an application
//! that has none costs a request one look at a `None`. The order is that of the fields of
//! [`switcher_config::settings::Middleware`]. What counts something (`rate`, `in_flight`, `breaker`) goes on over a reload that changes
//! nothing for its place. The gateway asks; every decision is a function of the request and of what is counted.

mod breaker;
mod compress;
mod cors;
mod files;
mod forward_auth;
mod headers;
mod in_flight;
mod password;
mod rate;
mod source;
mod target;
mod vary;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use ipnet::IpNet;
use switcher_config::settings::{AppSettings, FixedAnswer, Middleware, Timeouts};
use switcher_config::{Bytes as Size, PathPrefix};

use crate::control::Control;
use crate::forwarded::Client;

pub use breaker::{Breaker, Turned, Watch, Went};
pub use compress::{Compressor, Encoder};
pub use cors::{Cors, is_preflight};
pub use files::{Files, Found};
pub use forward_auth::{ForwardAuth, Verdict, has_body};
pub use headers::{Rules as HeaderRules, take_out};
pub use in_flight::Permit;
pub use password::{Login, Users};
pub use rate::{Limiter, Standing};
pub use source::Asked;
pub use target::{Ambiguous, Redirects, Rewriting, readings};

/// What is done in one place.
#[derive(Debug)]
pub struct Chain {
    settings: Middleware,
    rate: Option<Limiter>,
    in_flight: Option<Arc<in_flight::Limiter>>,
    /// How long its upstream is waited for, where that is not as everywhere in the application.
    pub timeouts: Option<Arc<Timeouts>>,
    /// Which pages of other origins may read answers.
    pub cors: Option<Cors>,
    /// Who may ask, by name and password.
    pub login: Option<Login>,
    /// Who is asked whether a request may pass.
    pub forward_auth: Option<ForwardAuth>,
    /// The largest body of a request.
    pub body_size: Option<Size>,
    /// Where requests are sent on to.
    pub redirects: Redirects,
    /// The folder whose files are answered in the application's place.
    pub files: Option<Files>,
    /// What is answered in the application's place.
    pub answer: Option<Fixed>,
    /// When the application is left alone for a while.
    pub breaker: Option<Arc<Breaker>>,
    /// Up to which size a body is taken in whole before an upstream is asked.
    pub buffer: Option<Size>,
    /// Up to which size an answer's body is taken in whole before its client is sent any of it.
    pub hold: Option<Size>,
    /// Whether answers are held that the application declares cacheable.
    pub caches: bool,
    /// Which target the application sees.
    pub rewrite: Option<Rewriting>,
    /// Headers of requests.
    pub request: HeaderRules,
    /// Headers of answers.
    pub response: HeaderRules,
    /// How answers are compressed.
    pub compress: Option<Compressor>,
}

/// An answer in the application's place.
#[derive(Debug, Clone)]
pub struct Fixed {
    /// Its status.
    pub status: StatusCode,
    /// Its media type.
    pub content_type: HeaderValue,
    /// Its body.
    pub body: Bytes,
}

/// What is done in each place of an application.
#[derive(Debug)]
pub struct Chains {
    whole: Option<Arc<Chain>>,
    /// The longest path first.
    paths: Vec<(PathPrefix, Option<Arc<Chain>>)>,
}

impl Chains {
    /// Those of an application; none when nothing is done anywhere. What `before` had for the same place in the same way goes on.
    ///
    /// # Errors
    /// A sentence about a file that cannot be read.
    pub fn of(
        above: &Middleware,
        app: &AppSettings,
        before: Option<&Self>,
    ) -> Result<Option<Arc<Self>>, String> {
        let whole = app.middleware.over(above);
        let known = before.and_then(|before| before.whole.as_ref());
        let whole_chain = chain(&whole, None, known)?;
        let mut paths = Vec::with_capacity(app.paths.len());
        for path in &app.paths {
            let known = before.and_then(|before| before.paths.iter().find(|(known, _)| *known == path.path));
            let known = known.and_then(|(_, chain)| chain.as_ref());
            let timeouts = path.timeouts.over(&app.timeouts);
            paths.push((path.path.clone(), chain(&path.middleware.over(&whole), timeouts, known)?));
        }
        paths.sort_by_key(|(path, _)| std::cmp::Reverse(path.as_str().len()));
        let nothing = whole_chain.is_none() && paths.iter().all(|(_, chain)| chain.is_none());
        Ok((!nothing).then(|| Arc::new(Self { whole: whole_chain, paths })))
    }

    /// What is done with a request for this path.
    ///
    /// # Errors
    /// When the path may mean another place to the application than it says: then nothing that guards a place can be
    /// relied on.
    pub fn at(&self, path: &str) -> Result<Option<&Arc<Chain>>, Ambiguous> {
        if self.paths.is_empty() {
            return Ok(self.whole.as_ref());
        }
        let place = |path: &str| self.paths.iter().position(|(prefix, _)| prefix.matches(path));
        let found = place(path);
        if readings(path).is_some_and(|readings| readings.iter().any(|read| place(read) != found)) {
            return Err(Ambiguous);
        }
        Ok(found.map_or(self.whole.as_ref(), |at| self.paths[at].1.as_ref()))
    }

    /// The files of users, wherever they are asked for.
    pub fn users(&self) -> impl Iterator<Item = &Arc<Users>> {
        let chains = self.whole.iter().chain(self.paths.iter().filter_map(|(_, chain)| chain.as_ref()));
        chains.filter_map(|chain| chain.login.as_ref()).map(|login| &login.users)
    }
}

fn chain(
    settings: &Middleware,
    timeouts: Option<Timeouts>,
    known: Option<&Arc<Chain>>,
) -> Result<Option<Arc<Chain>>, String> {
    let is_same =
        |known: &&Arc<Chain>| known.settings == *settings && known.timeouts.as_deref() == timeouts.as_ref();
    if let Some(known) = known.filter(is_same) {
        return Ok(Some(Arc::clone(known)));
    }
    if !settings.does_something() && timeouts.is_none() {
        return Ok(None);
    }
    // Whoever changes one key does not forget what another one counts.
    let rate = settings.rate_limit.get().map(|limit| match known {
        Some(known) if known.settings.rate_limit == settings.rate_limit => known.rate.clone(),
        Some(_) | None => Some(Limiter::new(limit)),
    });
    let in_flight = settings.in_flight.get().map(|limit| match known {
        Some(known) if known.settings.in_flight == settings.in_flight => known.in_flight.clone(),
        Some(_) | None => Some(Arc::new(in_flight::Limiter::new(limit))),
    });
    let breaker = settings.breaker.get().map(|breaker| match known {
        Some(known) if known.settings.breaker == settings.breaker => known.breaker.clone(),
        Some(_) | None => Some(Arc::new(Breaker::new(*breaker))),
    });
    Ok(Some(Arc::new(Chain {
        settings: settings.clone(),
        rate: rate.flatten(),
        in_flight: in_flight.flatten(),
        timeouts: timeouts.map(Arc::new),
        cors: settings.cors.get().map(Cors::new),
        login: settings.basic_auth.get().map(Login::new).transpose()?,
        forward_auth: settings.forward_auth.get().map(ForwardAuth::new).transpose()?,
        body_size: settings.body_size.get().copied(),
        redirects: Redirects::new(settings.redirects.get().map_or(&[], Vec::as_slice)),
        files: settings.files.get().map(Files::new).transpose()?,
        answer: settings.answer.get().map(Fixed::from),
        breaker: breaker.flatten(),
        buffer: settings.buffer.get().and_then(|buffer| buffer.request),
        hold: settings.buffer.get().and_then(|buffer| buffer.response),
        caches: settings.cache.get().is_some(),
        rewrite: settings.rewrite.get().map(Rewriting::new),
        request: settings.request_headers.get().map_or_else(HeaderRules::default, HeaderRules::new),
        response: settings.response_headers.get().map_or_else(HeaderRules::default, HeaderRules::new),
        compress: settings.compress.get().map(Compressor::new),
    })))
}

impl From<&FixedAnswer> for Fixed {
    fn from(answer: &FixedAnswer) -> Self {
        Self {
            status: StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK),
            content_type: HeaderValue::try_from(answer.content_type.as_str())
                .unwrap_or_else(|_| HeaderValue::from_static("text/plain")),
            body: answer.body.clone().into(),
        }
    }
}

impl Chain {
    /// Whether a client is let in by its address.
    #[must_use]
    pub fn lets_in(&self, client: &Client) -> bool {
        let within = |networks: &Vec<IpNet>| networks.iter().any(|network| network.contains(&client.ip));
        self.settings.allow.get().is_none_or(within) && !self.settings.deny.get().is_some_and(within)
    }

    /// Counts a request; `None` when it is not counted.
    #[must_use]
    pub fn counted(&self, asked: Asked<'_>) -> Option<Standing> {
        self.rate.as_ref()?.ask(asked)
    }

    /// A place among the requests at once.
    ///
    /// # Errors
    /// When there is none.
    pub fn enter(&self, asked: Asked<'_>) -> Result<Option<Permit>, Full> {
        match &self.in_flight {
            None => Ok(None),
            Some(limiter) => limiter.enter(asked).map(Some).ok_or(Full),
        }
    }
}

/// Looks for changed files of names and passwords, for ever.
pub async fn watch(control: Arc<Control>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let chains = control.view().apps.values().filter_map(|app| app.app.rules().1).collect::<Vec<_>>();
        if chains.iter().all(|chains| chains.users().next().is_none()) {
            continue;
        }
        let look = move || chains.iter().flat_map(|chains| chains.users()).for_each(|users| users.look());
        if let Err(error) = tokio::task::spawn_blocking(look).await {
            tracing::warn!(%error, "looking for changed names and passwords failed; the next look follows");
        }
    }
}

/// As much is asked for at once as may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

#[cfg(test)]
mod tests {
    use switcher_config::settings::{HeaderRules as Rules, Own, PathMiddleware, PathTimeouts};

    use super::*;
    use crate::testing;

    fn app(whole: Middleware, paths: &[(&str, Middleware)]) -> AppSettings {
        let mut app = testing::app_settings("127.0.0.1:1", "127.0.0.1:2");
        app.middleware = whole;
        app.paths = paths
            .iter()
            .map(|(path, middleware)| PathMiddleware {
                path: path.parse().expect("a path"),
                middleware: middleware.clone(),
                timeouts: PathTimeouts::default(),
            })
            .collect();
        app
    }

    fn denying(network: &str) -> Middleware {
        Middleware { deny: Own::Is(vec![network.parse().expect("a network")]), ..Middleware::default() }
    }

    fn client(ip: &str) -> Client {
        Client { ip: ip.parse().expect("an address"), trusted: false }
    }

    fn lets_in(chains: &Chains, path: &str, ip: &str) -> bool {
        chains.at(path).expect("a place").is_none_or(|chain| chain.lets_in(&client(ip)))
    }

    #[test]
    fn where_nothing_is_done_there_is_nothing() {
        let nothing = Middleware::default();
        assert!(Chains::of(&nothing, &app(nothing.clone(), &[]), None).expect("chains").is_none());
        let off = Middleware { deny: Own::Off, ..Middleware::default() };
        assert!(Chains::of(&denying("10.0.0.0/8"), &app(off, &[]), None).expect("chains").is_none());
        let empty = Middleware { response_headers: Own::Is(Rules::default()), ..Middleware::default() };
        assert!(Chains::of(&nothing, &app(empty, &[]), None).expect("chains").is_none());
    }

    #[test]
    fn the_longest_path_that_fits_counts_and_takes_over_what_it_leaves_out() {
        let open = Middleware { deny: Own::Off, ..Middleware::default() };
        let paths =
            [("/admin", denying("10.0.0.0/8")), ("/admin/open", open), ("/other", Middleware::default())];
        let chains = Chains::of(&denying("192.0.2.0/24"), &app(Middleware::default(), &paths), None);
        let chains = chains.expect("chains").expect("some");
        assert!(lets_in(&chains, "/", "10.0.0.1") && !lets_in(&chains, "/", "192.0.2.1"));
        assert!(!lets_in(&chains, "/admin/x", "10.0.0.1") && lets_in(&chains, "/admin", "192.0.2.1"));
        assert!(
            lets_in(&chains, "/admin/open/1", "10.0.0.1") && lets_in(&chains, "/admin/open", "192.0.2.1")
        );
        assert!(!lets_in(&chains, "/other", "192.0.2.1"));
        assert!(lets_in(&chains, "/administrator", "10.0.0.1"));
    }

    #[test]
    fn a_path_that_may_mean_another_place_is_refused() {
        let chains = Chains::of(
            &Middleware::default(),
            &app(Middleware::default(), &[("/admin", denying("0.0.0.0/0"))]),
            None,
        );
        let chains = chains.expect("chains").expect("some");
        for path in [
            "/%61dmin",
            "//admin",
            "/x/../admin",
            "/x/%2e%2e/admin/1",
            "/admin/../public",
            "/admin%2f..%2fx",
            "/admin;x",
            "/..;/admin",
            "/./admin",
        ] {
            assert_eq!(chains.at(path).err(), Some(Ambiguous), "{path}");
        }
        for path in ["/admin/%61", "/x%20y", "/admin//x", "/public/./x", "/100%"] {
            assert!(chains.at(path).is_ok(), "{path}");
        }
    }

    #[test]
    fn a_reload_that_changes_nothing_for_a_place_goes_on_counting() {
        let (old, new) = (denying("10.0.0.0/8"), denying("10.1.0.0/16"));
        let before = Chains::of(&Middleware::default(), &app(old.clone(), &[("/a", new.clone())]), None);
        let before = before.expect("chains").expect("some");
        let same = |after: &Chains| {
            let is = |one: Option<&Arc<Chain>>, other: Option<&Arc<Chain>>| match (one, other) {
                (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                (Some(_), None) | (None, Some(_) | None) => false,
            };
            (
                is(after.whole.as_ref(), before.whole.as_ref()),
                is(after.at("/a").expect("a"), before.at("/a").expect("a")),
            )
        };
        let again =
            |whole| Chains::of(&Middleware::default(), &app(whole, &[("/a", new.clone())]), Some(&before));
        assert_eq!(same(&again(old).expect("chains").expect("some")), (true, true));
        assert_eq!(same(&again(denying("10.2.0.0/16")).expect("chains").expect("some")), (false, true));
    }
}
