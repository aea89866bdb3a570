//! Files: a folder that is answered from in the application's place.
//!
//! `tower-http` picks the file, weighs conditions, ranges and encodings; what it may open is decided here: nothing outside of
//! the folder, whatever links say (the kernel resolves beneath it), and nothing hidden. The folder is opened anew for each
//! file, so one that is replaced, by a link that is moved for instance, is seen at once. Called by the gateway.

use std::fs::Metadata as FileMetadata;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use switcher_config::PathPrefix;
use switcher_config::settings::{Files as Settings, Missing};
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tower_http::services::ServeDir;
use tower_http::services::fs::{
    Backend, DefaultServeDirFallback, File, ServeFileSystemResponseBody as FileBody,
};

/// How much of a file is read at once, in bytes.
const PIECE: usize = 64 * 1024;

/// What of a request decides which bytes of a file are its answer.
const LOOKED_AT: [HeaderName; 6] = [
    header::ACCEPT_ENCODING,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_UNMODIFIED_SINCE,
    header::RANGE,
];

/// How often a name is looked up again while others are renamed.
const TRIES: usize = 8;

/// The one hidden name that is served (RFC 8615).
const WELL_KNOWN: &[u8] = b".well-known";

/// A folder.
#[derive(Debug)]
pub struct Files {
    folder: ServeDir<DefaultServeDirFallback, Beneath>,
    strip: Option<PathPrefix>,
    missing: Missing,
}

/// What a folder has for a request.
pub enum Found {
    /// A file or a part of it, that it has not changed, or where its folder is.
    Answer(Box<Response<FileBody>>),
    /// Where the folder itself is, behind whose name there was no slash.
    Folder(HeaderValue),
    /// Nothing, and that is the application's affair.
    Application,
    /// Nothing.
    Nothing,
    /// Files are only read.
    OnlyRead,
    /// There is something that this process cannot read.
    Unreadable(io::Error),
}

impl Files {
    /// Prepares what the settings say.
    ///
    /// # Errors
    /// A sentence, when the folder cannot be opened.
    pub(super) fn new(settings: &Settings) -> Result<Self, String> {
        let beneath = Beneath(settings.root.as_path().into());
        // Also shows whether this kernel resolves names beneath a folder (Linux 5.6), and is let to.
        beneath.get(Path::new(""), OFlags::PATH).map_err(|error| {
            format!("the folder of files, {}, cannot be opened: {error}", settings.root.display())
        })?;
        let mut folder = ServeDir::with_backend("", beneath)
            .with_buf_chunk_size(PIECE)
            // The whole is a good answer to those who ask for several parts (RFC 9110 section 14.2), and a cheap one.
            .ignore_multi_range_requests(true);
        if settings.precompressed {
            folder = folder.precompressed_zstd().precompressed_br().precompressed_gzip();
        }
        if let Some(strip) = settings.strip.as_ref().filter(|strip| strip.as_str() != "/") {
            folder = folder.redirect_path_prefix(strip.as_str());
        }
        Ok(Self { folder, strip: settings.strip.clone(), missing: settings.missing.clone() })
    }

    /// What there is for a request.
    pub async fn find(&self, method: &Method, target: &Uri, headers: &HeaderMap) -> Found {
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        if !is_read {
            return match self.missing {
                Missing::Application => Found::Application,
                Missing::NotFound | Missing::File(_) => Found::OnlyRead,
            };
        }
        if let Some(folder) = self.unslashed(target) {
            return Found::Folder(folder);
        }
        let found = match self.path(target) {
            Some(path) => self.ask(method, path, headers).await,
            None => Ok(None),
        };
        match (found, &self.missing) {
            (Ok(Some(answer)), _) => Found::Answer(Box::new(answer)),
            (Ok(None), Missing::Application) => Found::Application,
            (Ok(None), Missing::NotFound) => Found::Nothing,
            (Ok(None), Missing::File(path)) => match path.parse() {
                Ok(path) => match self.ask(method, path, headers).await {
                    Ok(Some(answer)) => Found::Answer(Box::new(answer)),
                    Ok(None) => Found::Nothing,
                    Err(error) => Found::Unreadable(error),
                },
                Err(_) => Found::Nothing,
            },
            (Err(error), _) => Found::Unreadable(error),
        }
    }

    /// With the slash that is missing behind what is taken off, without which a page would look for others in the wrong place.
    fn unslashed(&self, target: &Uri) -> Option<HeaderValue> {
        let strip = self.strip.as_ref()?.as_str();
        let query = target.query().map_or_else(String::new, |query| format!("?{query}"));
        let whole = strip != "/" && target.path() == strip;
        whole.then(|| HeaderValue::try_from(format!("{strip}/{query}")).ok()).flatten()
    }

    /// Where in the folder a target is, when that may be served.
    fn path(&self, target: &Uri) -> Option<PathAndQuery> {
        let path = target.path();
        let rest = match &self.strip {
            Some(strip) if strip.matches(path) => &path[strip.as_str().trim_end_matches('/').len()..],
            Some(_) => return None,
            None => path,
        };
        let rest = if rest.is_empty() { "/" } else { rest };
        if !is_served(rest) {
            return None;
        }
        match target.query() {
            Some(query) => format!("{rest}?{query}").parse().ok(),
            None => rest.parse().ok(),
        }
    }

    async fn ask(
        &self,
        method: &Method,
        path: PathAndQuery,
        headers: &HeaderMap,
    ) -> io::Result<Option<Response<FileBody>>> {
        let condition = headers.get(header::IF_RANGE);
        let ranged = method == Method::GET && headers.get(header::RANGE).is_some_and(is_in_bytes);
        let answer = self.look(method, &path, headers, ranged).await?;
        // Parts of one version must not be put to those of another (RFC 9110 section 13.1.5).
        let answer = match (answer, condition) {
            (Some(answer), Some(condition)) if ranged && !is_version(answer.headers(), condition) => {
                drop(answer);
                self.look(method, &path, headers, false).await?
            }
            (answer, _) => answer,
        };
        Ok(answer.map(with_charset))
    }

    async fn look(
        &self,
        method: &Method,
        path: &PathAndQuery,
        headers: &HeaderMap,
        ranged: bool,
    ) -> io::Result<Option<Response<FileBody>>> {
        let mut request = Request::new(());
        *request.method_mut() = method.clone();
        *request.uri_mut() = Uri::from(path.clone());
        for name in LOOKED_AT.iter().filter(|name| ranged || **name != header::RANGE) {
            for value in headers.get_all(name) {
                request.headers_mut().append(name, value.clone());
            }
        }
        match self.folder.clone().try_call(request).await {
            Ok(answer) if answer.status() == StatusCode::NOT_FOUND => Ok(None),
            Ok(answer) => Ok(Some(answer)),
            Err(error) if is_nothing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether a path, below the folder, is one that may be served: it says which file in one way alone, and no name in it is
/// hidden.
fn is_served(path: &str) -> bool {
    let Some(path) = path.strip_prefix('/') else { return false };
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        let name: Vec<u8> = percent_decode_str(segment).collect();
        let is_last = segments.peek().is_none();
        let hidden = name.starts_with(b".") && name != WELL_KNOWN;
        if hidden || name.iter().any(|b| matches!(b, b'/' | 0)) || (name.is_empty() && !is_last) {
            return false;
        }
    }
    true
}

/// A unit that is not known is as good as none (RFC 9110 section 14.2).
fn is_in_bytes(range: &HeaderValue) -> bool {
    range.as_bytes().get(..6).is_some_and(|unit| unit.eq_ignore_ascii_case(b"bytes="))
}

/// Whether a client that has this version has what is answered: by its strong tag, or its very date.
fn is_version(answer: &HeaderMap, condition: &HeaderValue) -> bool {
    [header::ETAG, header::LAST_MODIFIED].iter().any(|name| answer.get(name) == Some(condition))
}

/// Names the encoding of text, which is that of the web.
fn with_charset(mut answer: Response<FileBody>) -> Response<FileBody> {
    if let Some(media) = answer.headers_mut().get_mut(header::CONTENT_TYPE)
        && let Ok(text) = media.to_str()
        && text.starts_with("text/")
        && !text.contains(';')
        && let Ok(named) = HeaderValue::try_from(format!("{text}; charset=utf-8"))
    {
        *media = named;
    }
    answer
}

/// Whether an error says that there is no such file: also one that leads out of the folder, or is longer than names are.
fn is_nothing(error: &io::Error) -> bool {
    const NOTHING: [Errno; 7] = [
        Errno::NOENT,
        Errno::NOTDIR,
        Errno::XDEV,
        Errno::LOOP,
        Errno::NAMETOOLONG,
        Errno::INVAL,
        Errno::ISDIR,
    ];
    error.kind() == io::ErrorKind::NotFound
        || Errno::from_io_error(error).is_some_and(|no| NOTHING.contains(&no))
}

/// Opens what is beneath a folder.
#[derive(Debug, Clone)]
struct Beneath(Arc<Path>);

impl Beneath {
    fn folder(&self) -> io::Result<std::os::fd::OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(openat(CWD, &*self.0, flags, Mode::empty())?)
    }

    /// A file or folder of this name, below the folder.
    fn get(&self, path: &Path, flags: OFlags) -> io::Result<(std::fs::File, FileMetadata)> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let mut tries = 0;
        let file = loop {
            match openat2(self.folder()?, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // Something was renamed meanwhile, and the kernel cannot tell whether that led outside.
                Err(Errno::AGAIN) if tries < TRIES => tries += 1,
                opened => break opened?,
            }
        };
        let file = std::fs::File::from(file);
        let metadata = file.metadata()?;
        // What is neither may wait for ever, or do something when it is read.
        if metadata.is_file() || metadata.is_dir() {
            Ok((file, metadata))
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }
}

type Soon<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// Does what may wait for a disk beside the requests.
fn beside<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Soon<T> {
    Box::pin(async move { tokio::task::spawn_blocking(work).await.map_err(io::Error::other)? })
}

impl Backend for Beneath {
    type File = Opened;
    type Metadata = FileMetadata;
    type OpenFuture = Soon<Opened>;
    type MetadataFuture = Soon<FileMetadata>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        let beneath = self.clone();
        beside(move || {
            // Not held up by a pipe that nobody writes to.
            let (file, metadata) = beneath.get(&path, OFlags::RDONLY | OFlags::NONBLOCK)?;
            if metadata.is_dir() {
                return Err(io::ErrorKind::NotFound.into());
            }
            Ok(Opened { file: file.into(), metadata })
        })
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        let beneath = self.clone();
        beside(move || Ok(beneath.get(&path, OFlags::PATH)?.1))
    }
}

/// An open file, and what it was when it was opened.
#[derive(Debug)]
struct Opened {
    file: tokio::fs::File,
    metadata: FileMetadata,
}

impl File for Opened {
    type Metadata = FileMetadata;
    type MetadataFuture<'a> = std::future::Ready<io::Result<FileMetadata>>;

    fn metadata(&self) -> Self::MetadataFuture<'_> {
        std::future::ready(Ok(self.metadata.clone()))
    }
}

impl AsyncRead for Opened {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_read(cx, space)
    }
}

impl AsyncSeek for Opened {
    fn start_seek(mut self: Pin<&mut Self>, position: io::SeekFrom) -> io::Result<()> {
        Pin::new(&mut self.file).start_seek(position)
    }

    fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(&mut self.file).poll_complete(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_names_and_paths_of_two_meanings_are_not_served() {
        for path in ["/", "/a", "/a/", "/a.b/c..d", "/%61%20b", "/.well-known/security.txt", "/a%5Cb"] {
            assert!(is_served(path), "{path}");
        }
        for path in [
            "",
            "a",
            "/.env",
            "/.git/config",
            "/a/..",
            "/../a",
            "/%2e%2e/a",
            "/%2Eenv",
            "/a%2fb",
            "/a//b",
            "//a",
            "/a%00",
            "/./a",
        ] {
            assert!(!is_served(path), "{path}");
        }
    }

    #[test]
    fn a_part_is_sent_to_whoever_has_the_rest_of_the_same_version() {
        let answer: HeaderMap = [
            (header::ETAG, HeaderValue::from_static("\"1\"")),
            (header::LAST_MODIFIED, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT")),
        ]
        .into_iter()
        .collect();
        for (condition, same) in [
            ("\"1\"", true),
            ("\"2\"", false),
            ("W/\"1\"", false),
            ("Sun, 06 Nov 1994 08:49:37 GMT", true),
            ("Sun, 06 Nov 1994 08:49:38 GMT", false),
        ] {
            assert_eq!(is_version(&answer, &HeaderValue::from_static(condition)), same, "{condition}");
        }
    }
}
