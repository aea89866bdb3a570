//! `stream`: raw connections through a real nginx, and through our proxy after an import.

use std::path::Path;

use switcher_tests::certificate::{Certificate, put};
use switcher_tests::foreign::{served, start};
use switcher_tests::part::skip_or_fail;
use switcher_tests::port::Port;
use switcher_tests::tls::Hello;
use switcher_tests::{Echo, Line, Switcher};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{nginx, ours};

/// Where Debian keeps it.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

const NGINX: &str = r#"
load_module MODULE;
daemon off; master_process off; pid FOLDER/nginx.pid; error_log stderr crit;
events { worker_connections 256; }
stream {
  upstream database { least_conn; server PLAIN_UPSTREAM; }
  map $ssl_preread_server_name $broker {
    hostnames;
    one.test ONE_UPSTREAM;
    *.two.test TWO_UPSTREAM;
  }
  server { listen PLAIN; proxy_pass database; proxy_timeout 1m; proxy_connect_timeout 2s; }
  server { listen NAMED; ssl_preread on; proxy_pass $broker; }
  server { listen TELLING; proxy_pass PLAIN_UPSTREAM; proxy_protocol on; }
  server { listen ENDING ssl; ssl_certificate PEM; ssl_certificate_key KEY; proxy_pass database; }
  server { listen GUARDED; allow 192.0.2.1; deny all; proxy_pass database; }
}
"#;

/// Everything that clients hear at these addresses.
async fn heard(doors: &[Port; 5]) -> Vec<String> {
    let [plain, named, telling, ending, _] = doors.each_ref().map(Port::address);
    let mut heard = Vec::new();
    let mut line = Line::connect(plain).await;
    heard.push(line.line().await);
    heard.push(line.ask("select 1").await);
    for name in ["one.test", "any.two.test"] {
        let agreed = Hello::to(name).connect(named).await;
        heard.push(format!("{:?}", agreed.certificate.len()));
        let mut line = Line::over(agreed.stream);
        heard.push(line.line().await);
        heard.push(line.ask("secret").await);
    }
    let mut line = Line::connect(telling).await;
    heard.push(line.line().await);
    let told = line.line().await;
    heard.push(told.split(' ').take(4).collect::<Vec<_>>().join(" "));
    let agreed = Hello::to("any.test").connect(ending).await;
    heard.push(format!("{:?}", agreed.certificate));
    let mut line = Line::over(agreed.stream);
    heard.push(line.line().await);
    heard.push(line.ask("in the clear").await);
    heard
}

#[tokio::test]
async fn what_nginx_passed_on_as_bytes_is_passed_on_after_an_import() {
    let Some(program) = nginx() else { return skip_or_fail("nginx is not here") };
    if !Path::new(MODULE).is_file() {
        return skip_or_fail("nginx's stream module is not here; `./setup --tests` brings it");
    }
    let certificates =
        [Certificate::of(&["one.test"]), Certificate::of(&["any.two.test"]), Certificate::of(&["any.test"])];
    let database = Echo::start("database").await;
    let brokers = (Echo::secure("one", &certificates[0]).await, Echo::secure("two", &certificates[1]).await);
    let doors: [Port; 5] = std::array::from_fn(|_| Port::reserve());
    let folder = TempDir::new().expect("a folder");
    let (certificate, key) = certificates[2].write(folder.path(), "any");
    let text = NGINX
        .replace("MODULE", MODULE)
        .replace("FOLDER", &folder.path().display().to_string())
        .replace("PEM", &certificate.display().to_string())
        .replace("KEY", &key.display().to_string())
        .replace("PLAIN_UPSTREAM", &database.address().to_string())
        .replace("ONE_UPSTREAM", &brokers.0.address().to_string())
        .replace("TWO_UPSTREAM", &brokers.1.address().to_string());
    let names = ["PLAIN", "NAMED", "TELLING", "ENDING", "GUARDED"];
    let text = names
        .iter()
        .zip(&doors)
        .fold(text, |text, (name, door)| text.replace(name, &door.address().to_string()));
    put(&folder.path().join("nginx.conf"), &text);
    let config = folder.path().join("nginx.conf").display().to_string();
    let prefix = folder.path().display().to_string();
    let server = start(folder.path(), &program, &["-e", "stderr", "-p", &prefix, "-c", &config]);
    served(doors[0].address()).await;
    let before = heard(&doors).await;
    // Ours listens where it did.
    drop(server);
    let switcher = Switcher::bare(folder.path());
    let ran = switcher.succeed(&["import", "nginx", "nginx.conf"]).await;
    for part in ["allow 192.0.2.1", "nobody is let in at this address"] {
        assert!(ran.stderr.contains(part), "{part} is not told:\n{}", ran.stderr);
    }
    let (proxy, _, _kept) = ours(folder.path(), &switcher).await;
    let written = std::fs::read_to_string(folder.path().join("switcher.yaml")).expect("it");
    assert_eq!(heard(&doors).await, before, "{written}");
    assert!(TcpStream::connect(doors[4].address()).await.is_err(), "{written}");
    drop(proxy);
}
