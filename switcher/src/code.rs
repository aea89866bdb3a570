//! Every error code: its title, its exit code and its long explanation, in one place.
//!
//! A code, once released, keeps its meaning. `failure` carries them, `switcher explain` prints them.

use std::fmt;

use serde::{Serialize, Serializer};

/// The exit code of the process, as the contract lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Failed; the old version still serves.
    Failed = 1,
    /// Wrong usage.
    Usage = 2,
    /// The lock is held, or the generation moved: somebody else is acting.
    Moved = 3,
    /// Unhealthy: not switched, or switched back.
    Unhealthy = 4,
    /// Snapshot or migration failed: not switched.
    Migration = 5,
    /// Docker, the registry, the proxy or the database cannot be reached.
    Unreachable = 6,
    /// Unsafe or unknown state: a person is needed.
    Unsafe = 7,
    /// Configuration error.
    Configuration = 10,
    /// `--dry-run --exit-code`: there is something to do.
    ToDo = 11,
    /// Interrupted at a safe point.
    Interrupted = 130,
}

impl Exit {
    /// What the number means, for `explain`.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Failed => "failed; the old version still serves",
            Self::Usage => "wrong usage",
            Self::Moved => "lock held, or the generation moved: somebody else is acting",
            Self::Unhealthy => "unhealthy: not switched, or switched back",
            Self::Migration => "snapshot or migration failed: not switched",
            Self::Unreachable => "Docker, the registry, the proxy or the database cannot be reached",
            Self::Unsafe => "unsafe or unknown state: a person is needed",
            Self::Configuration => "configuration error",
            Self::ToDo => "there is something to do",
            Self::Interrupted => "interrupted at a safe point",
        }
    }
}

/// Makes the enum and its table from one list, so that no code can miss its text.
macro_rules! codes {
    ($($variant:ident $text:literal $exit:ident $title:literal $explanation:literal)*) => {
        /// A stable error code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $title] $variant,)*
        }

        impl Code {
            /// Every code, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code as people see it: `E-PROXY-01`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// What it is, in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// The exit code it ends the process with.
            #[must_use]
            pub const fn exit(self) -> Exit {
                match self { $(Self::$variant => Exit::$exit,)* }
            }

            /// What it means, why it happens and what to do.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$variant => $explanation,)* }
            }
        }
    };
}

codes! {
    Usage "E-USAGE-01" Usage "the command line is not understood"
"A verb, an option or a value is misspelt or missing. Nothing was asked of the proxy, so nothing changed.
`switcher VERB --help` lists what a verb takes; options may stand before or after the verb."

    UnknownCode "E-USAGE-02" Usage "there is no such error code"
"`switcher explain` takes a code such as E-HEALTH-01, in upper or lower case. Without a code it lists them all."

    AppAmbiguous "E-APP-01" Usage "several applications are served, and none was named"
"`--app` may be left out only when the proxy serves one application. Name the one you mean: the error lists them.
Nothing was changed."

    AppUnknown "E-APP-02" Usage "there is no application of that name"
"The proxy serves no application of the name given with `--app`. The error lists the names it knows. If the
application was just added to the configuration file, `switcher reload` makes the proxy read it."

    AppNone "E-APP-03" Configuration "the proxy serves no application"
"The proxy runs, but the `apps` section of its configuration is empty. Add an application and run `switcher reload`."

    ConfigBad "E-CONFIG-01" Configuration "the configuration cannot be used"
"The configuration file is missing or has problems; every one of them is listed with file, line, key and a hint. It is
looked for at `--config FILE`, then $SWITCHER_CONFIG, ./switcher.yaml and /etc/switcher/switcher.yaml. The command
line reads it only to find the admin socket: with `--admin SOCKET` or $SWITCHER_ADMIN no file is needed. A proxy that
runs already goes on with the configuration it has."

    ConfigRefused "E-CONFIG-02" Configuration "the proxy refused its new configuration"
"The proxy read its configuration file again, found it bad and changed nothing: it serves on with the old one.
The proxy reads the file it was started with, which may be another one than `--config` names here."

    ProxyAbsent "E-PROXY-01" Unreachable "there is no admin socket"
"The proxy makes its admin socket when it starts and removes it when it ends. When the file is missing, either no
proxy runs on this machine, or it runs with another configuration: compare `proxy.admin` in its configuration file with
the path in the error, and name the right one with `--admin SOCKET`."

    ProxyDead "E-PROXY-02" Unreachable "the admin socket is there, but no proxy listens on it"
"The socket's file outlived its proxy, which was killed or crashed. Start the proxy: it takes the file over, and
comes back on the slot that was live, since the routing is saved before every switch."

    ProxyPermission "E-PROXY-03" Unreachable "the admin socket may not be opened"
"The admin socket has mode 0600: whoever may open the file may switch traffic, and nobody else. Run the command as
the user who runs the proxy, or as root."

    ProxyNotSocket "E-PROXY-04" Unreachable "the admin path cannot be used as a unix socket"
"`--admin`, $SWITCHER_ADMIN or `proxy.admin` names something that is no unix socket, or a path longer than the 107
bytes that the system allows for one."

    ProxyTimeout "E-PROXY-05" Unreachable "the proxy did not answer in time"
"The proxy took the connection and then said nothing. It may be overloaded, stopped in a debugger, or waiting for a
disk. When the question was a change, the error says whether it happened."

    ProxyLost "E-PROXY-06" Unreachable "the connection to the proxy broke"
"The proxy closed the connection before it had answered: it was restarted, killed or upgraded just then. A change is
asked for once more when the status shows that it did not happen; this error says that the second try broke too."

    ProxyGibberish "E-PROXY-07" Unsafe "the proxy's answer is not understood"
"The answer is not what this version of `switcher` expects. Usually the proxy is of another version, or the socket
belongs to another program. Compare `switcher --version` and `switcher-proxy --version`."

    ProxyShuttingDown "E-PROXY-08" Unreachable "the proxy is handing over or shutting down"
"A proxy that is ending, or giving its listeners to a new process, takes no changes. Nothing was changed.
Ask again when the new process answers."

    ProxyReadOnly "E-PROXY-09" Failed "changes are not accepted here"
"This door of the proxy answers questions only. Changes are made over the unix socket that `proxy.admin` names."

    ProxyRefused "E-PROXY-10" Failed "the proxy did not understand the request"
"The proxy refused the request as malformed and changed nothing. Usually the proxy is of another version than
`switcher`: compare `switcher --version` and `switcher-proxy --version`."

    TopFull "E-TOP-01" Failed "too many watch the traffic already"
"What is asked for just now is counted for each who watches, and the proxy does so for sixteen at most. End one of the
others (`switcher top`, or whoever reads `/v1/top` of the status listener) and ask again."

    SlotLive "E-SLOT-01" Failed "the slot is live"
"Addresses are registered in the standby slot only, so that traffic never moves without a switch. Register the new
addresses in the other slot, then promote it."

    SlotEmpty "E-SLOT-02" Unhealthy "the slot has no upstreams"
"There is nothing in the slot that could answer, so it cannot be made live, not even by force. Register its addresses
with `switcher register SLOT HOST:PORT`, or write them under `slots` in the configuration and run `switcher reload`."

    PreviewOff "E-PREVIEW-01" Failed "previews are not set up"
"Whoever shows a secret token, or a pass made with it, reaches the slot that is not live. The application has no
`preview` section that names the file of such a token. Write `preview: {token_file: preview.token}` under the
application, make the file with mode 0600 (`head -c 24 /dev/urandom | base64`), and run `switcher reload`."

    HealthBad "E-HEALTH-01" Unhealthy "the slot is not healthy"
"At least one upstream of the slot fails its health check; the error carries the reason of the newest failure.
Traffic was not moved. `--wait-healthy 30s` waits for it, `--force` moves traffic all the same."

    HealthUnknown "E-HEALTH-02" Unhealthy "the health of the slot is not known yet"
"The slot has not passed its health check often enough (`health.rise` times in a row) to be called healthy: it was
just started or registered. Unknown is not healthy, so traffic was not moved. `--wait-healthy 30s` waits for it."

    HealthTimeout "E-HEALTH-03" Unhealthy "the slot did not become healthy in time"
"`--wait-healthy` waited as long as it was told to, and the slot still failed its health check; the error carries the
reason of the newest failure. Traffic was not moved."

    HealthLive "E-HEALTH-04" Unhealthy "the slot is live already, but not healthy"
"There was nothing to switch: the slot gets the traffic already. It fails its health check, though, so this is no
success. `switcher rollback` moves traffic to the other slot when that one is healthy."

    SmokeFailed "E-SMOKE-01" Unhealthy "the new version did not answer its smoke tests well"
"Before traffic moves the proxy asks the new version for the pages of `deploy.smoke`, through its own listener: with the
real host, certificate and rules. The error lists what was expected of each and what came. Traffic was not moved, and
what was started is removed. `switcher deploy --no-promote --skip-smoke` brings the version up to be looked at."

    GenerationMoved "E-GEN-01" Moved "somebody else changed the routing"
"Every change names the generation it expects, so that of two people who act at once one wins and the other is told.
Here the generation had moved between reading the status and asking for the change. Look at the status,
then decide again."

    GenerationLost "E-GEN-02" Moved "the reply was lost, and somebody else changed the routing"
"The proxy's reply to a change did not arrive. The status shows neither the state before the change nor the state
that the change would have made, so somebody else acted meanwhile. The change was not asked for again."

    LeaseHeld "E-LOCK-01" Moved "somebody else holds the lease"
"One command at a time changes what is deployed. The error names who holds the lease, in which process, for what and
until when: it is renewed while its owner lives, and is free as soon as that process ends, however it ends. Nothing
was changed. `--lock-wait 5m` waits for it; `switcher lock status` shows it."

    LeaseLost "E-LOCK-02" Moved "the lease was lost"
"Each lease has a number greater than the one before, and the proxy remembers the greatest that it was shown. This
command showed a smaller one: its lease ran out or was released, and another command took over. The proxy changed
nothing for it. `switcher status` shows what is live and who holds the lease now."

    LeaseUnconfirmed "E-LOCK-03" Usage "releasing the lease was not confirmed"
"`lock release --force` takes the lease from a command that is still at work: what it is about to do is refused, and
it stops half way. So it asks for the word first. Where nobody can be asked, in a script or a pipe, say `--yes`.
Nothing was released."

    StateNotSaved "E-STATE-01" Failed "the proxy could not save its state"
"A switch is saved on disk before traffic moves. The disk of `proxy.data_dir` is full, read-only or failing, so the
proxy refused the change and traffic stays where it was. Make room or mend the disk, then ask again."

    StateUnknown "E-STATE-02" Unsafe "it is not known whether the change happened"
"The proxy's reply to a change was lost and it could not be asked afterwards. The change either happened entirely
or not at all. When the proxy answers again, `switcher status` shows which."

    StateRefused "E-STATE-03" Failed "the deployer's memory cannot be read or written"
"What is deployed is remembered below `switcher.state_dir`. The system refused the file or folder that the error
names: the disk is full or read-only, or this user has no right to it (the folder has mode 0700). What was
remembered before is whole, and traffic stays where it is. Mend it, then run the command again: it goes on."

    StateDamaged "E-STATE-04" Unsafe "the deployer's memory is damaged"
"A file below `switcher.state_dir` is not what `switcher` wrote: it was edited, cut off, or its disk is failing. It is
left as it is, and never taken for an empty one, for then the way back would be lost. `state.json.last-good` beside
it is the last good copy: look at both, then copy it over. Scripts may read these files, and add nothing to them."

    StatePlace "E-STATE-05" Configuration "the deployer's memory cannot be kept there"
"`switcher.state_dir` lies in a folder that the system empties (/tmp, /var/tmp, /dev/shm, $TMPDIR), or the
environment's name cannot name a folder; or the folder, or one above it, is a link, another user's, or may be written
by others, who could then make the deployer do what they like. The lease, the history and the way back must outlive a
restart. Choose a folder that stays and is this user's or root's, such as /var/lib/switcher-deployments. Nothing was
changed."

    DrainLost "E-DRAIN-01" Unsafe "traffic has moved, but how the drain went is not known"
"The switch happened. Its receipt is gone: the proxy was restarted during the drain (what was still inside the old slot
ended with the old process), or more than 32 switches were made since."

    BakeWorse "E-BAKE-01" Unhealthy "the new version was worse under live traffic, and traffic went back"
"After the switch the proxy compared the new version with `deploy.bake` and with the last minutes of the version
before: the share of failed requests, connections that were not taken, the slowest hundredth. It was worse (or nobody
could tell, and `on_inconclusive: rollback` stands), so the proxy moved traffic back to the version before, which
serves. The figures stand in the error, in `switcher history` and in `switcher status`. The new version is left in its
slot, for its logs; the next deployment replaces it. When the limits are what is wrong, change `deploy.bake`, or pass
`--skip-bake` once."

    BakeStays "E-BAKE-02" Unsafe "the new version is worse under live traffic, and there is nothing to go back to"
"The proxy found the new version worse than `deploy.bake` allows, and could not go back: the version before has no
addresses, or is not healthy itself. The new version serves on. Mend either: `switcher status` tells what is wrong with
which slot, `switcher rollback --to ID` starts an earlier release again."

    BakeLost "E-BAKE-03" Unsafe "traffic has moved, but how it was judged is not known"
"The proxy remembers no switch that was to be judged on live traffic. It may have been started again with another data
folder, or it is older than this command and does not judge at all. `switcher status` tells what is live."

    CanaryGoesOn "E-CANARY-01" Failed "a canary goes on in the slot"
"A part of the clients is served by that slot, so its addresses are not changed under them, and nothing is deployed into
it. `switcher promote SLOT` makes it live, `switcher canary abort` takes the clients back; either ends the canary."

    CanaryNone "E-CANARY-02" Failed "no canary goes on"
"There is nothing to end: all clients are served by the live slot. A canary that was worse than the live slot, or whose
slot lost its last healthy upstream, ends by itself; `switcher canary` tells how the last one ended."

    CanaryLive "E-CANARY-03" Failed "the slot has all the clients already"
"A canary sends a part of the clients to the slot that is not live. Name the other slot."

    CanaryWorse "E-CANARY-04" Unhealthy "the new version was worse for a part of the clients, and they were taken back"
"Before the switch a part of the clients was sent to the new version, and the proxy compared it with `deploy.canary` and
with what the live version did in the same time: the share of failed requests, connections that were not taken, the
slowest hundredth, probes. It was worse, so the proxy took the clients back at once. Nothing was promoted: the version
that was live serves everybody. The figures stand in the error and in `switcher history`. When the limits are what is
wrong, change `deploy.canary`, or pass `--skip-canary` once."

    CanaryUnjudged "E-CANARY-05" Unhealthy "the new version could not be judged by a part of the clients, and they were taken back"
"A step of the canary was over, and for the time of `deploy.canary.hold` too few requests came to the new version, or
one of its upstreams was not healthy. Nothing was promoted: the version that was live serves everybody. Larger steps, a
longer `every`, a smaller `min_requests` or `on_inconclusive: go_on` suit an application with few visitors, and
`--skip-canary` does without once."

    CanaryTaken "E-CANARY-06" Failed "somebody else ended the canary of a deployment"
"While a deployment led its canary, somebody took the clients back (`switcher canary abort`), or a change of the
configuration put something else into the slot. The deployment was ended as well; the version that was live serves
everybody. Deploy again when that is settled."

    VerifyFailed "E-VERIFY-01" Unhealthy "the new version was not seen at the public address, and traffic went back"
"After the switch the deployer asked `deploy.verify.url` from its own machine, as users ask it, until `timeout` was over,
and the answer was not that of the new version: another status, without `contains`, or by its header from the other
slot. A listener, load balancer or cache in front may lead elsewhere, the name may point to another host, or the version
says something else of itself. Traffic was moved back to the version before, which serves. What was seen last stands in
`switcher history --json` under `verified`. The new version is left in its slot, for its logs. `--skip-verify` does
without once; `on_failure: keep` keeps the new version and tells."

    VerifyKept "E-VERIFY-02" Unsafe "traffic HAS moved, and the new version is not seen at the public address"
"As E-VERIFY-01, but traffic was left where it is: `on_failure: keep` stands in `deploy.verify`, or the command was
itself a way back, which is never taken back. The new version is live for the proxy, and its record says degraded. Look
at what is in front of the proxy; `switcher rollback` goes back."

    VerifyStays "E-VERIFY-03" Unsafe "traffic HAS moved, and a version that is not seen at the public address stays"
"As E-VERIFY-01, but traffic could not be moved back: the version before has no addresses, is not healthy or its
containers are gone, or somebody else changed the application meanwhile. The new version serves on, and its record says
degraded. `switcher status` tells what is wrong with which slot, `switcher rollback --to ID` starts an earlier release
again."

    CertFailed "E-CERT-01" Failed "a certificate was not renewed, or not revoked"
"The authority refused, could not be reached, or could not see the proof of control over a name; the error carries
the reason. The certificate before is served on, and the proxy tries again by itself, later each time. `switcher
certs check` looks for what stands in the way without asking the authority for anything."

    CertLimit "E-CERT-02" Failed "the authority may not be asked now"
"Authorities limit how often certificates may be ordered, and shut out who goes on asking. The proxy keeps count of
its orders and stays below the limits, also with `--force`; the error says which limit it is and when there is room
again. The certificate before is served on."

    CertNotOurs "E-CERT-03" Failed "the certificate is not the proxy's to renew or revoke"
"The proxy renews what it got from an authority by ACME or from its own, and revokes what it got by ACME. A
certificate from files belongs to whoever wrote them: renew it there, and the proxy serves the new files by itself
as soon as they change. A placeholder, or one of the internal authority, is known to no authority that could revoke
it."

    CertUnknown "E-CERT-04" Usage "no certificate covers that name"
"The proxy serves no certificate for the name and wants none. `switcher certs list` shows the names there are. A
name gets one when it stands under `hosts` of an application whose `tls` is `auto` or `internal`, after `switcher
reload`."

    CertUnconfirmed "E-CERT-05" Usage "revoking was not confirmed"
"A revoked certificate never becomes valid again, so `certs revoke` asks first. Where nobody can be asked, in a
script or a pipe, say `--yes`. Nothing was revoked."

    CertBlocked "E-CERT-06" Failed "something stands between a name and its certificate"
"`switcher certs check` found what would make the authority refuse, without asking it for a certificate, so no limit
was touched. Each finding says what to do about it. What is served now is served on."

    CertSource "E-CERT-07" Failed "there is nothing to import there"
"`switcher certs import` reads Caddy's data folder (it holds `certificates`), Traefik's `acme.json`, or certbot's
folder (it holds `live`). What the path names is missing, unreadable for this user, of another kind, or without a
certificate. Other programs let only root and themselves read their keys. Nothing was changed."

    CertNotWritten "E-CERT-08" Failed "the certificates cannot be written into the data folder"
"Imported certificates are put into `certs/imported` below `proxy.data_dir`, where the proxy takes them from. The
folder belongs to the user who runs the proxy: run the command as that user or as root. What was served is served
on."

    CertNotImported "E-CERT-09" Failed "not everything could be imported"
"Some of what lies there could not be read or is damaged, or the proxy took nothing of it; each has its reason. What
was taken is served. A name without an imported certificate gets one from the authority, as any other."

    CertNoRoot "E-CERT-10" Failed "there is no internal root"
"The proxy makes its own authority when an application with `tls: internal` is served for the first time. Until then
there is no root to trust. It is kept in `certs/internal/root.pem` below `proxy.data_dir`."

    CertNotReplaced "E-CERT-11" Failed "the certificate is revoked, and not replaced yet"
"The authority revoked the certificate, and the order for its replacement failed; the error carries the reason. The
proxy tries again by itself. Until then clients that look revocations up refuse what is served."

    DatabaseUnreachable "E-DB-01" Unreachable "the database cannot be reached"
"Nobody answers at the address of the database's URL, or the connection broke. The error names the database and what
the system said. Look whether it runs and whether this machine may connect: `psql` with the same URL shows it."

    DatabaseRefused "E-DB-02" Unreachable "the database refuses the connection"
"The server answered, and does not let us in: the password, the role or the name of the database is wrong, its
`pg_hba.conf` has no line for us, or its certificate does not prove what `sslmode` asks for. The error carries its
words. Nothing was changed."

    DatabaseUrl "E-DB-03" Configuration "the database's URL is not understood"
"A URL is written postgres://user:password@host:5432/database?sslmode=require. Characters of a password such as @ / : %
are percent-encoded. The error names the part that is wrong and, since it may be secret, not what it holds."

    DatabaseQuery "E-DB-04" Migration "the database refused a question"
"The server refused to answer, usually because the role may not read the table in which the migrations are remembered.
Only reading was tried; nothing was changed. Grant the role SELECT on the table that the error names."

    SnapshotFailed "E-SNAP-01" Migration "the dump of the database failed"
"`pg_dump` ended with an error, which is shown. A deployment stops here: without a snapshot there would be no way back
from its migrations. What had been written was removed, and traffic stays where it was."

    SnapshotTool "E-SNAP-02" Migration "there is no fitting pg_dump"
"PostgreSQL's `pg_dump` refuses servers newer than itself, and an older server refuses what a newer one wrote. Install
the client of the server's own major version, or name an image with it as `snapshot.image`. Nothing was changed."

    SnapshotRoom "E-SNAP-03" Migration "there is no room for the snapshot"
"The disk of `switcher.state_dir` is full, or the quota is. What had been written was removed at once. Make room, for
example with `switcher snapshot prune`, or move `switcher.state_dir` to a larger disk."

    SnapshotTimeout "E-SNAP-04" Migration "the snapshot took too long"
"The dump did not end within `snapshot.timeout` and was stopped; what had been written was removed. It may have waited
for a lock: look for long transactions in `pg_stat_activity`. Otherwise give it more time."

    SnapshotDamaged "E-SNAP-05" Migration "a snapshot is damaged"
"The file is missing, is not as long as it was, does not have the checksum it was written with, or `pg_restore` cannot
read it. It is not used for anything. `switcher snapshot list` shows the good ones."

    SnapshotRestore "E-SNAP-06" Migration "the snapshot was not restored"
"Restoring goes into a fresh database, so the live one is untouched. What was made on the way was removed. The error
carries the words of `pg_restore` or of the server; the role needs CREATEDB."

    SnapshotUnconfirmed "E-SNAP-07" Usage "replacing the live database was not confirmed"
"`snapshot restore --swap` puts another database in the place of the live one, so its name has to be typed. Where
nobody can be asked, in a script or a pipe, give it with `--yes-replace NAME`. Nothing was changed."

    SnapshotUnknown "E-SNAP-08" Usage "there is no such snapshot"
"`switcher snapshot list` shows the snapshots there are, with their ids, such as snap_01JBQR2K3M4N5P6Q7R8S9T0VWX."

    SnapshotSwap "E-SNAP-09" Migration "the databases were not swapped"
"Both names change in one transaction, or neither does: the live database is the one it was. The restored one is there
under the name that the error gives. Usually somebody else's connections kept it busy, or the role does not own it."

    SnapshotFolder "E-SNAP-10" Failed "the folder of the snapshots cannot be used"
"Snapshots are kept below `switcher.state_dir`. The folder is missing, belongs to another user, or its disk fails. Run
the command as the user who deploys. Nothing was changed."

    SnapshotConnection "E-SNAP-11" Configuration "the connection cannot be handed to PostgreSQL's programs"
"`pg_dump` takes the password from a private file, never from its arguments. The error says what of the database's URL
cannot be handed over that way, or not to a container."

    SchemaDirty "E-MIGRATE-01" Migration "a migration ended halfway"
"The tool that migrates this database has noted that one of its migrations began and did not end. Running others on
top of it makes it worse, so nothing was run. The error names the migration and the tool's own way out."

    InterruptedBefore "E-INTERRUPT-01" Interrupted "interrupted before anything was changed"
"Ctrl-C or SIGTERM arrived before the change was asked for. Traffic stays where it was."

    InterruptedDrain "E-INTERRUPT-02" Interrupted "interrupted after traffic had moved"
"Ctrl-C or SIGTERM arrived while the old slot was draining. Traffic HAS moved, and the drain goes on in the proxy
without this command. `switcher status` shows when it is over."

    InterruptedOrder "E-INTERRUPT-03" Interrupted "interrupted while the proxy asked the authority"
"Ctrl-C or SIGTERM arrived while the proxy was asking for certificates. It goes on without this command, and serves
what it gets. `switcher certs list` shows how it went."

    HostBad "E-HOST-01" Usage "the address of the Docker Engine is not understood"
"`--host`, or $DOCKER_HOST, names the engine: unix:///var/run/docker.sock, tcp://HOST:2376, or ssh://USER@HOST, which
reaches the engine and the proxy of a server by `ssh`."

    HostUnreachable "E-HOST-02" Unreachable "the server cannot be reached by ssh"
"`ssh` could not log in; the error carries its own words. It is run without a terminal and never asks: keys have to be
in place (or held by an agent), and the server's own key has to be known. Log in once by hand with the command in the
error; everything else about the connection belongs into ~/.ssh/config."

    HostProxy "E-HOST-03" Unreachable "the server's proxy does not answer through ssh"
"`ssh` logged in, and nobody answered at the proxy's admin socket on the server. Either no proxy runs there, or its
`proxy.admin` is another path than the one in the error (name it with `--admin`), or this user may not open it: the
socket has mode 0600, so log in as the user who runs the proxy, or as root."

    DockerUnreachable "E-DOCKER-01" Unreachable "the Docker Engine cannot be reached"
"Nobody answers where the engine is said to be, the connection broke, or the answer did not come in time. The address
is that of `--host`, else `switcher.docker_host` of the configuration, else $DOCKER_HOST, else
unix:///var/run/docker.sock. `systemctl status docker` on that machine tells whether Docker runs. Traffic does not
depend on it."

    DockerPermission "E-DOCKER-02" Unreachable "the Docker Engine may not be used by this user"
"The socket of the engine may be opened by root and by the group `docker`. `usermod -aG docker USER` adds a user to the
group, from the next login on; whoever is in that group is as good as root on that machine."

    DockerTls "E-DOCKER-03" Unreachable "the engine and this machine do not trust each other"
"An engine behind TCP is spoken to by TLS when $DOCKER_TLS_VERIFY or $DOCKER_CERT_PATH is set. The folder that
$DOCKER_CERT_PATH names (else ~/.docker) holds ca.pem, which signed the engine's certificate, and cert.pem and key.pem,
which the engine accepts. The name in the address has to be one of the certificate's."

    DockerUnsuited "E-DOCKER-04" Unreachable "what answers is no engine that can be used"
"The engine is older than Docker 20.10, or what answers at its address is no Docker Engine."

    DockerRefused "E-DOCKER-05" Failed "the Docker Engine refused"
"The engine answered, and did not do what was asked for; the error carries its words. Traffic stays where it was."

    DockerNoSpace "E-DOCKER-06" Failed "there is no room on the engine's disk"
"An image is unpacked beside what was downloaded, so about three times its download is needed, and never less than
512 MiB. `switcher prune` removes images that no release needs; `docker system df` tells what takes the room."

    ImageUnavailable "E-IMAGE-01" Unreachable "the image cannot be had from its registry"
"The registry does not know the image, does not answer, or wants a login; the error says which. It is the engine that
asks the registry, from its own network. Logins are those of `docker login`, in the configuration folder of Docker on
this machine ($DOCKER_CONFIG, else ~/.docker), whichever machine the engine is on."

    ImageLogin "E-IMAGE-02" Unreachable "the login of a registry cannot be read"
"Docker's configuration file is damaged, or the credential helper that it names is missing or failed. Helpers are
programs of the name docker-credential-NAME on the PATH."

    ImagePlatform "E-IMAGE-03" Failed "the image is not made for the engine's platform"
"An image runs on the platforms it was built for, such as linux/amd64 and linux/arm64. Build it for the engine's
platform as well, or set `deploy.platform` to one that the engine can run."

    ImageFile "E-IMAGE-04" Failed "the image file cannot be used"
"The file of `--load` cannot be read, or holds no image. `docker save -o FILE IMAGE` writes one."

    Output "E-OUTPUT-01" Unsafe "the result could not be written"
"Standard output refused the result: the disk is full or the terminal is gone. What was asked for did happen;
only its report is missing."

    DeployNone "E-DEPLOY-01" Configuration "nobody knows how a release of this application is brought up"
"`deploy` and what belongs to it need a `deploy` section under the application in the configuration. Without one the
slots are filled by somebody else: `switcher register` gives a slot its addresses, `switcher promote` moves traffic."

    DeployOpen "E-DEPLOY-02" Unsafe "a deployment cannot be brought to its end"
"Something that must succeed does not: what was started cannot be removed, or what happened cannot be written down.
Its journal stays open, and the next command goes on with it. `switcher repair` does nothing but that, and explains.
When it never can, `switcher repair --abandon` records it as failed and leaves what it started; traffic can be moved
meanwhile by `switcher promote SLOT --unrecorded`."

    JournalDamaged "E-DEPLOY-03" Unsafe "what a deployment wrote down cannot be understood"
"The journal of a deployment, or the state, is not what this version of `switcher` writes. Nothing was changed. The
error names the file. Traffic is not touched by it: `switcher status` and `switcher promote SLOT --unrecorded` work
without it."

    DeployRefused "E-DEPLOY-04" Usage "the image cannot be deployed like this"
"The argument names no image, or one that moves (`latest`, or no tag) in production. Name a version, such as
ghcr.io/acme/shop:v1.5.0; with `deploy.image` in the configuration the tag alone is enough. Nothing was changed."

    StartFailed "E-START-01" Unhealthy "the new version does not run"
"The process in the new slot ended, was killed for memory, or fails the image's own HEALTHCHECK. Its last answers and
log lines are shown. What was started has been removed, and traffic never moved."

    EnvironmentBad "E-ENV-01" Configuration "the application's environment cannot be used"
"Env files must be readable by their owner alone, hold no CHANGE_ME, and every name of `required_env` and `secrets`
must have a value. Each problem is listed with file and line, and never with a value. Nothing was changed."

    MigrationFailed "E-MIGRATE-02" Migration "the migrations failed"
"The migration command of the new image ended with an error, took longer than its timeout, or was killed for memory.
Its last lines are shown, and all of them are in the deployment's log. The new version was not started and traffic did
not move. Whether the schema is as before is the migration tool's word: `switcher migrate status` shows it."

    RollbackNothing "E-ROLLBACK-01" Failed "there is nothing to go back to"
"A rollback goes to the deployment that was live before. There is none yet. `switcher history` lists every deployment."

    RollbackUnknown "E-ROLLBACK-02" Usage "that deployment cannot be gone back to"
"`--to` takes the id of a deployment that has been live in this environment, as `switcher history` lists it."

    RollbackIncompatible "E-ROLLBACK-03" Failed "the migrations since then do not suit the version before"
"A deployment since then ran migrations with `migrate.compatible: false`: the version before cannot work on the new
schema. Either restore the snapshot that was taken before those migrations, or go back all the same with `--force`.
Traffic stays where it is."

    RepairUnsafe "E-REPAIR-01" Unsafe "something does not fit, and mending it is not safe"
"Docker, the proxy, the journal and the state do not agree in a way that has no safe answer. The finding says what is
seen and what a person has to decide. Nothing was changed about it."

    ToDo "E-PLAN-01" ToDo "there is something to do"
"With `--dry-run --exit-code` this is no error: the plan has stages that would be performed."

    InterruptedAtOnce "E-INTERRUPT-05" Interrupted "left at once"
"A second Ctrl-C leaves wherever the deployment is. Nothing is lost: its journal says how far it got, and the next
command brings it to its end. `switcher repair` does nothing but that."

    InterruptedDeploy "E-INTERRUPT-04" Interrupted "a deployment was interrupted and undone"
"The deployment was stopped at a safe point, before traffic had moved. What it had started was stopped and removed; the
version before serves on. Migrations that had run stay: the same deployment, begun again, finds them done."

    InterruptedPrune "E-INTERRUPT-06" Interrupted "interrupted between two removals"
"Ctrl-C or SIGTERM arrived while `switcher prune` was at work. What it lists is gone, everything else is where it was,
and traffic is not touched by it. `switcher prune`, begun again, removes the rest."

    HookFailed "E-HOOK-01" Failed "a hook failed"
"A command of `deploy.hooks` ended with another code than 0, took longer than its `timeout`, or could not be started.
Before traffic has moved that stops the deployment and undoes it; after it, the error is a warning. The last lines of
its output are shown, and all of them are in the deployment's log."

    WatchNone "E-WATCH-01" Configuration "nobody says which tag is to be watched"
"`switcher watch` deploys a tag whenever it moves. Write `deploy: {image: ghcr.io/acme/shop, watch: {tag: production}}`
under the application, and push to that tag what is to go live."

    WatchTwice "E-WATCH-02" Moved "the application is watched already"
"One process at a time watches an application: two would deploy every digest twice. `systemctl status switcher-watch`
tells whether the service runs. Nothing was changed."

    WebhookBad "E-WATCH-03" Configuration "webhooks cannot be taken"
"`switcher.webhook` names the address that webhooks are taken at, and the file of the secret that they are signed with:
mode 0600, 16 characters or more. The error says which of the two cannot be used. Without the section `switcher watch`
looks at its interval alone."

    DoctorFailed "E-DOCTOR-01" Failed "something around the deployments does not work"
"`switcher doctor` looks at everything that a deployment needs and changes nothing. Each finding that failed carries
one remedy; a warning works now and may not for long. `switcher doctor --json` has the same for scripts."

    InitSource "E-INIT-01" Usage "what was named cannot be carried over"
"`--compose` names a Compose file: YAML with a section `services`. What is wrong with it is listed with its line.
Without `--compose`, compose.yaml, compose.yml, docker-compose.yaml or docker-compose.yml of this folder is read, else
the running containers are looked at. Nothing was written."

    InitWrite "E-INIT-02" Failed "a file or folder cannot be made"
"The folder is not writable for this user, the disk is full, or something else has the file's name. Files are put in
place whole or not at all, so the same command goes on where this one stopped once the reason is gone."

    InitStep "E-INIT-03" Failed "a step of preparing the machine failed"
"Making the system user or starting the services failed; the words of the program that was run are shown. What was done
before stays and is not done twice: run the same command again, or do that step by hand."

    ImportSource "E-IMPORT-01" Configuration "a file of another proxy cannot be read"
"`switcher import` reads the files as the program does whose they are. This one is missing, may not be read, or is
not written in that program's syntax: the error has the file, the line and the column. Let that program check it first,
such as `nginx -t` or `caddy validate`. Nothing was written."

    ImportThere "E-IMPORT-02" Usage "a file of that name is there already"
"`switcher import` writes over nothing by itself. Name another file with `--output FILE`, look at the result first
with `--dry-run`, or replace what is there with `--force`. Nothing was written."

    ImportNothing "E-IMPORT-03" Configuration "nothing of it can be served here"
"What was read holds no site that can be served here, or none that loads: everything that is not carried over is
listed with its line. A part of a configuration may need the files around it: name them all, they are one import.
Nothing was written."

    LogsElsewhere "E-LOGS-01" Usage "the logs of this application are not the engine's"
"With `runtime: static` the slots are filled by your own hooks, so the logs are where whatever they start puts them,
such as `journalctl -u UNIT`. What hooks print is in the log of each deployment: `switcher logs --deployment ID`."

    LogsUnknown "E-LOGS-02" Usage "there is no such log"
"`switcher logs` takes a slot (blue, green), `live` or `standby`, the name of a container of the application, or with
`--deployment` the id of a deployment, as `switcher history` lists it. The logs of old deployments are removed by
`switcher prune`, after `retain.logs`."

    LogsEmpty "E-LOGS-03" Failed "nothing is in the slot"
"No container of the application is in the slot, so there is nothing to show. With `-f` the command waits for one."

    Internal "E-INTERNAL-01" Failed "the system refused what this command needs"
"The process could not start its event loop or take its signals, usually because a limit on open files or threads was
reached (`ulimit -a`). Nothing was asked of the proxy."
}

impl Code {
    /// The code of that name, in upper or lower case.
    #[must_use]
    pub fn find(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str().eq_ignore_ascii_case(text))
    }

    /// The code whose name is most like `text`.
    #[must_use]
    pub fn nearest(text: &str) -> Self {
        let upper = text.to_ascii_uppercase();
        Self::ALL
            .iter()
            .copied()
            .min_by_key(|code| strsim::damerau_levenshtein(&upper, code.as_str()))
            .unwrap_or(Self::Usage)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_codes_share_a_name_and_every_name_finds_its_code() {
        let names: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert_eq!(Code::find(&code.as_str().to_lowercase()), Some(*code));
        }
    }

    #[test]
    fn a_misspelt_code_finds_its_neighbour() {
        for (text, code) in [
            ("E-HEALTH-1", Code::HealthBad),
            ("e-prox-05", Code::ProxyTimeout),
            ("GEN-02", Code::GenerationLost),
        ] {
            assert_eq!(Code::nearest(text), code, "{text}");
        }
    }

    #[test]
    fn every_explanation_is_made_of_whole_sentences() {
        for code in Code::ALL {
            assert!(code.explanation().ends_with('.'), "{code}");
            assert!(!code.title().ends_with('.'), "{code}");
            assert!(code.explanation().lines().all(|line| line.chars().count() <= 120), "{code}");
        }
    }
}
