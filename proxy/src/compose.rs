//! The composition root: builds every part, connects them, and runs the process to its end. No logic.

use std::convert::Infallible;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::proxy::HttpProxy;
use pingora::server::configuration::ServerConf;
use sd_notify::NotifyState;
use switcher_certs::manager::Work;
use switcher_certs::{Manager, Plan, Store};
use switcher_config::settings::{ProxySettings, Settings};
use switcher_config::wire::RefusalReason;
use switcher_config::{Report, Sources};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::access_log::AccessLog;
use crate::admin::{self, Admin};
use crate::affinity;
use crate::bake;
use crate::cache::Cache;
use crate::canary;
use crate::command::Command;
use crate::control::Control;
use crate::dashboard::Kept;
use crate::decide::Denied;
use crate::edge::crowd::Crowd;
use crate::edge::{Door, Edge, Secure};
use crate::folder::{FolderLock, UnusableFolder};
use crate::gateway::{Budget, Gateway, Shared};
use crate::hsts::Policies;
use crate::limits;
use crate::listen::{CannotListen, Inherited, Listeners, accept, remove_sockets};
use crate::memory::{self, Streams};
use crate::metrics::Metrics;
use crate::middleware;
use crate::pages::{Fresh, Pages};
use crate::raw;
use crate::reload::Reloader;
use crate::routing::{RefuseToStart, Routing, RoutingFile};
use crate::rules::Rules;
use crate::shutdown::Shutdown;
use crate::smoke::{Secret, Smoker};
use crate::spare::Spares;
use crate::tls::client_cas::ClientCas;
use crate::tls::{AtFirstHandshake, Front};
use crate::traces::Exporter;
use crate::upgrade::{self, Takeover};
use crate::{certificates, history, sweep, view};

/// How often certificate files are looked at.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(2);

/// How often the files of pages are looked at; a change is taken at the second look.
const PAGE_LOOK: Duration = Duration::from_secs(1);

/// How long the access log may take to write what is queued when the process ends.
const LAST_LINES: Duration = Duration::from_secs(2);

/// How long the collector may take for the last spans when the process ends.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// How long a process that handed over keeps idle client connections, to close them with an answer.
const IDLE_AFTER_HAND_OVER: Duration = Duration::from_secs(10);

/// Why the proxy does not run.
#[derive(Debug, thiserror::Error)]
pub enum CannotRun {
    /// The configuration has problems.
    #[error("{0}")]
    Configuration(Report),
    /// The configuration names certificates that cannot be used.
    #[error("{0}")]
    Certificates(String),
    /// The configuration names pages that cannot be read.
    #[error("{0}")]
    Pages(String),
    /// The access log cannot be written as the configuration says.
    #[error("{0}")]
    AccessLog(String),
    /// The routing state cannot be used.
    #[error("{0}")]
    Routing(#[from] RefuseToStart),
    /// `--recover-routing` could not recover.
    #[error("cannot recover the routing state: {0}")]
    Recovery(String),
    /// The data folder cannot be used.
    #[error("{0}")]
    DataFolder(#[from] UnusableFolder),
    /// A socket cannot be listened on.
    #[error("{0}")]
    Listen(#[from] CannotListen),
    /// The first routing could not be written, or the settings not be applied.
    #[error("{0}")]
    Apply(#[from] Denied),
    /// No hand-over from the running process.
    #[error("cannot take over: {0}")]
    Takeover(std::io::Error),
    /// Something the operating system refused.
    #[error("{what}: {source}")]
    System {
        /// What was being done.
        what: &'static str,
        /// What the system answered.
        source: std::io::Error,
    },
    /// TLS could not be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

impl CannotRun {
    /// The process's exit code, as the contract lists them.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) | Self::Certificates(_) | Self::Pages(_) | Self::AccessLog(_) => 10,
            Self::Apply(denied) if matches!(denied.reason, RefusalReason::BadConfiguration) => 10,
            Self::Routing(_) | Self::Recovery(_) => 7,
            Self::DataFolder(_)
            | Self::Listen(_)
            | Self::Apply(_)
            | Self::Takeover(_)
            | Self::System { .. }
            | Self::Tls(_) => 1,
        }
    }
}

/// How many worker threads there are: one a core, unless the settings say it.
#[must_use]
pub fn threads(settings: &ProxySettings) -> usize {
    match settings.threads {
        0 => std::thread::available_parallelism().map_or(1, NonZero::get),
        threads => threads.into(),
    }
}

/// Runs the proxy to its end.
///
/// # Errors
/// Why it cannot run.
pub async fn run(command: Command, settings: Settings) -> Result<(), CannotRun> {
    let settings = Arc::new(settings);
    let (pages, client_cas) = files(&settings)?;
    let mut takeover = take_over(&command, &settings)?;
    let mut inherited = takeover.as_mut().map(|t| std::mem::take(&mut t.sockets)).unwrap_or_default();
    let lock = FolderLock::take(&settings.proxy.data_dir, &mut inherited)?;
    let file = RoutingFile::in_folder(&settings.proxy.data_dir);
    let remembered = remembered(&command, &file)?;
    let listeners = Listeners::open(&settings, &mut inherited)?;
    drop::<Inherited>(inherited);

    let metrics = metrics()?;
    let control = begin(file, remembered, &settings, &metrics).await?;
    let plan = Plan::new(&settings);
    let certificates = store(&plan)?;
    let (manager, work) =
        Manager::load(Arc::clone(&certificates), &settings.proxy.data_dir.join("certs"), plan);
    let tls = front(&certificates, &settings, client_cas, &metrics, &manager)?;
    let access_log = AccessLog::start(&settings.proxy.access_log).map_err(CannotRun::AccessLog)?;
    let (signal, ending) = watch::channel(false);
    let shares = limits::shares_now(&settings.proxy.limits);
    let shared = Arc::new(Shared {
        router: control.router(),
        rules: ArcSwap::from_pointee(Rules::new(&settings)),
        certificates: certificates.resolver(),
        challenges: certificates.challenges(),
        tls: Arc::new(tls),
        hsts: Arc::new(Policies::open(&settings.proxy.data_dir, &settings, jiff::Timestamp::now())),
        access_log: access_log.clone(),
        pages: Arc::new(pages),
        smoke: smoker(&listeners, &settings)?,
        crowd: Arc::new(Crowd::new(shares.connections, shares.per_address, metrics.limits().clone())),
        spares: Arc::new(Spares::new(shares.streams, metrics.limits().clone())),
        kept: Arc::new(Budget::within(memory::limit())),
        top: Arc::default(),
        events: control.events.clone(),
        metrics: Arc::clone(&metrics),
        cache: Cache::start(&settings.proxy.cache),
        traces: Arc::new(Exporter::new(settings.proxy.traces.as_ref(), metrics.spans.clone())),
        ending,
    });
    let reloader = Arc::new(reloader(command, &control, &shared, &certificates, &manager));
    let process = Process {
        settings,
        control,
        certificates,
        manager,
        access_log,
        shared,
        reloader,
        metrics,
        listeners,
        lock,
        dashboard: Arc::default(),
        admin_accepting: tokio::sync::Mutex::default(),
    };
    process.serve(takeover, signal, work).await
}

/// Reads the configuration again from where it was found.
fn reloader(
    command: Command,
    control: &Arc<Control>,
    shared: &Arc<Shared>,
    certificates: &Arc<Store>,
    manager: &Manager,
) -> Reloader {
    Reloader {
        sources: Box::new(move || Sources::from_process(command.config.clone(), command.environment.clone())),
        control: Arc::clone(control),
        shared: Arc::clone(shared),
        certificates: Arc::clone(certificates),
        manager: manager.clone(),
        turn: tokio::sync::Mutex::new(()),
    }
}

/// The control plane, with the settings in force.
async fn begin(
    file: RoutingFile,
    remembered: Routing,
    settings: &Arc<Settings>,
    metrics: &Arc<Metrics>,
) -> Result<Arc<Control>, CannotRun> {
    let control = Arc::new(Control::new(file, remembered, Arc::clone(settings), Arc::clone(metrics)));
    control.apply(Arc::clone(settings)).await?;
    Ok(control)
}

/// What the settings name and cannot be done without.
fn files(settings: &Settings) -> Result<(Pages, ClientCas), CannotRun> {
    let pages = Pages::default();
    pages.add(Fresh::read(settings).map_err(CannotRun::Pages)?);
    Ok((pages, ClientCas::read(settings).map_err(CannotRun::Certificates)?))
}

fn metrics() -> Result<Arc<Metrics>, CannotRun> {
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION")).map_err(|error| CannotRun::System {
        what: "the metrics cannot be set up",
        source: std::io::Error::other(error),
    });
    metrics.map(Arc::new)
}

fn store(plan: &Plan) -> Result<Arc<Store>, CannotRun> {
    Store::new(plan.wanted.clone()).map(Arc::new).map_err(|error| CannotRun::Tls(error.to_string()))
}

fn front(
    certificates: &Arc<Store>,
    settings: &Arc<Settings>,
    client_cas: ClientCas,
    metrics: &Metrics,
    manager: &Manager,
) -> Result<Front, CannotRun> {
    let at_first_handshake: Arc<dyn AtFirstHandshake> = Arc::new(manager.clone());
    Front::new(certificates, settings, client_cas, metrics.tls().clone(), Some(at_first_handshake))
        .map_err(|error| CannotRun::Tls(error.to_string()))
}

fn smoker(listeners: &Listeners, settings: &Settings) -> Result<Arc<Smoker>, CannotRun> {
    let secret =
        Secret::make().ok_or_else(|| CannotRun::Tls("the system gives no random numbers".to_owned()))?;
    Ok(Arc::new(listeners.smoker(secret, &settings.proxy)))
}

fn take_over(command: &Command, settings: &Settings) -> Result<Option<Takeover>, CannotRun> {
    if !command.upgrade {
        return Ok(None);
    }
    tracing::info!("waiting for the running proxy to hand over; send it SIGQUIT");
    Takeover::wait(&settings.proxy.data_dir).map(Some).map_err(CannotRun::Takeover)
}

fn remembered(command: &Command, file: &RoutingFile) -> Result<Routing, CannotRun> {
    if command.recover_routing {
        let recovered = file.recover().map_err(CannotRun::Recovery)?;
        tracing::warn!("going on from the last good copy of the routing state");
        return Ok(recovered);
    }
    Ok(file.load()?.unwrap_or_default())
}

/// Everything that runs.
struct Process {
    settings: Arc<Settings>,
    control: Arc<Control>,
    certificates: Arc<Store>,
    manager: Manager,
    access_log: AccessLog,
    shared: Arc<Shared>,
    reloader: Arc<Reloader>,
    metrics: Arc<Metrics>,
    listeners: Listeners,
    lock: FolderLock,
    /// What the dashboard keeps.
    dashboard: Arc<Kept>,
    /// The accept loops of the admin API.
    admin_accepting: tokio::sync::Mutex<Vec<JoinHandle<std::io::Result<()>>>>,
}

/// Why the process ends.
enum End {
    Terminated,
    HandedOver,
}

impl Process {
    async fn serve(
        self,
        takeover: Option<Takeover>,
        signal: watch::Sender<bool>,
        certificates: Work,
    ) -> Result<(), CannotRun> {
        let system = |what| move |source| CannotRun::System { what, source };
        // Read before anything is accepted, so that no signal finds the default action.
        let mut signals = Signals::new().map_err(system("signals cannot be handled"))?;
        reopen_log_on_signal(self.access_log.clone()).map_err(system("signals cannot be handled"))?;
        let (alive, connections) = mpsc::channel::<Infallible>(1);
        let proxy = Arc::new(self.http_proxy());
        let (idle_over, ending) = watch::channel(false);
        let edge = Arc::new(Edge {
            proxy,
            shared: Arc::clone(&self.shared),
            crowd: Arc::clone(&self.shared.crowd),
            room: Arc::new(Streams::within(memory::limit(), self.metrics.limits().clone())),
            limits: self.metrics.limits().clone(),
            shutdown: signal.subscribe(),
            idle_over: ending,
            alive,
        });
        self.start_accepting(&edge)?;
        self.start_watching(&edge);
        drop(edge);
        self.start_admin().await.map_err(system("the admin API cannot be served"))?;
        if let Some(takeover) = takeover
            && let Err(error) = takeover.serving()
        {
            tracing::warn!(%error, "the process before is gone already");
        }
        // Authorities that look are answered from here on, and by no other process.
        let happenings =
            certificates.begin().map_err(system("the thread for certificates cannot be started"))?;
        tokio::spawn(certificates::tell(
            happenings,
            self.control.events.clone(),
            self.metrics.certificates.clone(),
        ));
        tell_systemd(&[NotifyState::Ready, NotifyState::MainPid(std::process::id())]);
        self.announce();
        let end = self.until_the_end(&mut signals).await;
        // Closed now, so that whoever connects from here on is refused at once, or served by the next process.
        drop((self.listeners.http, self.listeners.https, self.listeners.raw));
        if matches!(end, End::Terminated) {
            tell_systemd(&[NotifyState::Stopping]);
            self.control.freeze(true).await;
            self.manager.pause(true).await;
            // A new process may have bound the paths already, so only a terminated one takes them away.
            remove_sockets(&self.settings.proxy);
        }
        let idle = match end {
            End::Terminated => Duration::ZERO,
            End::HandedOver => IDLE_AFTER_HAND_OVER,
        };
        let shutdown = Shutdown { signal, connections, idle_over, control: Arc::clone(&self.control), idle };
        let limit = self.control.view().settings.proxy.shutdown_timeout.0;
        // Whoever asks a second time means at once.
        let clean = tokio::select! {
            clean = shutdown.run(limit) => clean,
            _ = signals.terminate.recv() => false,
            _ = signals.interrupt.recv() => false,
        };
        self.shared.traces.close(LAST_SPANS).await;
        tracing::info!(clean, "ended");
        self.access_log.close(LAST_LINES);
        Ok(())
    }

    /// What looks again and again, until the process ends.
    fn start_watching(&self, edge: &Edge) {
        tokio::spawn(Arc::clone(&self.shared.traces).run());
        tokio::spawn(memory::watch(Arc::clone(&edge.crowd), Arc::clone(&edge.room)));
        tokio::spawn(sweep::run(Arc::clone(&self.control), self.metrics.limits().clone()));
        tokio::spawn(bake::carry::run(Arc::clone(&self.control)));
        tokio::spawn(canary::carry::run(Arc::clone(&self.control)));
        tokio::spawn(affinity::run(Arc::clone(&self.control)));
        tokio::spawn(Arc::clone(&self.certificates).watch(CERTIFICATE_LOOK));
        tokio::spawn(Arc::clone(&self.shared.pages).watch(PAGE_LOOK));
        tokio::spawn(middleware::watch(Arc::clone(&self.control), CERTIFICATE_LOOK));
        if self.listeners.status.is_some() {
            let (control, events) = (Arc::clone(&self.control), self.control.events());
            tokio::spawn(history::run(Arc::clone(&self.dashboard.history), control, events));
        }
    }

    fn http_proxy(&self) -> HttpProxy<Gateway> {
        let pool = limits::shares(&self.settings.proxy.limits, limits::descriptors()).pool;
        let conf = ServerConf {
            upstream_keepalive_pool_size: usize::try_from(pool).unwrap_or(usize::MAX),
            threads: threads(&self.settings.proxy),
            max_retries: 64,
            ..ServerConf::default()
        };
        pingora::proxy::http_proxy(&Arc::new(conf), Gateway(Arc::clone(&self.shared)))
    }

    fn start_accepting(&self, edge: &Arc<Edge>) -> Result<(), CannotRun> {
        let system = |source| CannotRun::System { what: "a listening socket cannot be used", source };
        let shakes = |listener| Some(Secure { front: Arc::clone(&self.shared.tls), listener });
        let settings = &self.settings.proxy;
        let plain = settings.http.iter().map(|listener| Door::new(listener, None));
        let secure = settings.https.iter().enumerate();
        let secure = secure.map(|(place, tls)| Door::new(&tls.listener, shakes(place)));
        let sockets = self.listeners.http.iter().chain(&self.listeners.https);
        for (listener, door) in sockets.zip(plain.chain(secure)) {
            let listener = listener.try_clone().map_err(system)?;
            let serve = move |edge: Arc<Edge>, socket, origin| edge.serve(socket, origin, door.clone());
            tokio::spawn(accept(listener, Arc::clone(edge), serve));
        }
        for (address, listener) in &self.listeners.raw {
            let (at, listener) = (*address, listener.try_clone().map_err(system)?);
            let serve = move |edge, socket, origin| raw::serve(edge, socket, origin, at);
            tokio::spawn(accept(listener, Arc::clone(edge), serve));
        }
        Ok(())
    }

    /// Accepts no more connections there; those that are open are answered.
    async fn stop_admin(&self) {
        for accepting in self.admin_accepting.lock().await.drain(..) {
            accepting.abort();
            // It ends by being cancelled, which is an error only in name.
            let _ = accepting.await;
        }
    }

    /// Begins to answer on the admin socket and the status listener, if it does not yet.
    async fn start_admin(&self) -> std::io::Result<()> {
        self.stop_admin().await;
        let admin = Admin {
            control: Arc::clone(&self.control),
            certificates: Arc::clone(&self.certificates),
            manager: self.manager.clone(),
            metrics: Arc::clone(&self.metrics),
            access_log: self.access_log.clone(),
            smoker: Arc::clone(&self.shared.smoke),
            reloader: Arc::clone(&self.reloader),
            dashboard: Arc::clone(&self.dashboard),
            top: Arc::clone(&self.shared.top),
            started_at: jiff::Timestamp::now(),
        };
        let socket = tokio::net::UnixListener::from_std(self.listeners.admin.try_clone()?)?;
        let router = admin::router(admin.clone());
        let mut accepting = vec![tokio::spawn(axum::serve(socket, router).into_future())];
        if let Some(status) = &self.listeners.status {
            let listener = tokio::net::TcpListener::from_std(status.try_clone()?)?;
            let router = admin::read_only_router(admin);
            accepting.push(tokio::spawn(axum::serve(listener, router).into_future()));
        }
        *self.admin_accepting.lock().await = accepting;
        Ok(())
    }

    fn announce(&self) {
        let view: Arc<view::View> = self.control.view();
        for (name, app) in &view.apps {
            tracing::info!(app = %name, live = %app.routing.active, generation = %app.routing.generation, "serving");
        }
        tracing::info!(admin = %self.settings.proxy.admin.display(), "ready");
    }

    async fn until_the_end(&self, signals: &mut Signals) -> End {
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => return End::Terminated,
                _ = signals.interrupt.recv() => return End::Terminated,
                _ = signals.hangup.recv() => self.reload().await,
                _ = signals.quit.recv() => tokio::select! {
                    // It may take a while to find the new process; whoever wants an end meanwhile gets it.
                    _ = signals.terminate.recv() => return End::Terminated,
                    _ = signals.interrupt.recv() => return End::Terminated,
                    handed_over = self.hand_over() => if handed_over {
                        return End::HandedOver;
                    },
                }
            }
        }
    }

    async fn reload(&self) {
        match self.reloader.reload().await {
            Ok(reloaded) => {
                tracing::info!(changes = ?reloaded.changes, needs_restart = ?reloaded.needs_restart, "reloaded");
            }
            Err(denied) => tracing::error!("not reloaded, nothing was changed:\n{denied}"),
        }
    }

    /// Hands the listening sockets to a new process. False when this one has to go on.
    async fn hand_over(&self) -> bool {
        match self.try_hand_over().await {
            Ok(()) => {
                tracing::info!("handed over; finishing what is in flight");
                true
            }
            Err(error) => {
                self.control.freeze(false).await;
                self.manager.pause(false).await;
                if let Err(error) = self.start_admin().await {
                    tracing::error!(%error, "the admin API cannot be served any more");
                }
                tracing::error!(%error, "not handed over, this process goes on");
                false
            }
        }
    }

    async fn try_hand_over(&self) -> std::io::Result<()> {
        let mut sockets = self.listeners.to_hand_over(&self.settings.proxy)?;
        sockets.push(self.lock.to_hand_over()?);
        let folder = self.settings.proxy.data_dir.clone();
        let new = blocking(move || upgrade::meet(&folder)).await?;
        // The new process reads the routing state, so nothing may change it from here on.
        self.control.freeze(true).await;
        self.manager.pause(true).await;
        // And nobody may be answered by this process once the other one is asked; meanwhile they queue.
        self.stop_admin().await;
        blocking(move || upgrade::hand_over(new, &sockets)).await
    }
}

/// Runs what blocks away from the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| Err(std::io::Error::other(panic)))
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
        })
    }
}

/// Has the file of the access log opened again at each SIGUSR1, to the end of the process, its drain included.
fn reopen_log_on_signal(log: AccessLog) -> std::io::Result<()> {
    let mut moved = signal(SignalKind::user_defined1())?;
    tokio::spawn(async move {
        while moved.recv().await.is_some() {
            log.reopen();
        }
    });
    Ok(())
}

fn tell_systemd(states: &[NotifyState<'_>]) {
    // Without systemd there is nobody to tell.
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told");
    }
}
