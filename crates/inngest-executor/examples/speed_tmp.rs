use bytes::Bytes;
use inngest_core::*;
use inngest_executor::driver::http::*;
use inngest_executor::response::*;
use inngest_executor::*;
use inngest_queue::*;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::*;
fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    let _ = f;
    let s = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    s.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e3
}
fn main() {
    let body = Bytes::from_static(br#"[{"id":"86f7e437faa5a7fce15d1ddcb9eaeaea377667b8","op":"StepRun","name":"charge","opts":{},"displayName":"charge","userland":{"id":"charge"},"data":{"ok":true,"total":12,"items":["a","b","c"],"customer":{"id":"c_1","name":"Ada"}},"timing":{"a":1795489019303000000,"b":45000000}}]"#);
    println!("{} bytes", body.len());
    let raw =
        RawReply { status: 206, headers: ReplyHeaders { sdk: Sdk::Present, version: 2, ..Default::default() }, body };
    for _ in 0..3 {
        let t = Instant::now();
        for _ in 0..200_000 {
            std::hint::black_box(understand(std::hint::black_box(&raw), Millis(0)));
        }
        println!("understand {:.2} us", t.elapsed().as_secs_f64() * 5.0);
    }
    // server thread
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for c in listener.incoming() {
            let mut c = c.unwrap();
            std::thread::spawn(move || {
                use std::io::{Read, Write};
                c.set_nodelay(true).unwrap();
                let mut buf = [0u8; 65536];
                loop {
                    let n = c.read(&mut buf).unwrap();
                    if n == 0 {
                        return;
                    }
                    c.write_all(b"HTTP/1.1 206 Partial\r\nx-inngest-sdk: js:v4.24.0\r\nx-inngest-req-version: 2\r\ncontent-type: application/json\r\ncontent-length: 273\r\n\r\n[{\"id\":\"86f7e437faa5a7fce15d1ddcb9eaeaea377667b8\",\"op\":\"StepRun\",\"name\":\"charge\",\"opts\":{},\"displayName\":\"charge\",\"userland\":{\"id\":\"charge\"},\"data\":{\"ok\":true,\"total\":12,\"items\":[\"a\",\"b\",\"c\"],\"customer\":{\"id\":\"c_1\",\"name\":\"Ada\"}},\"timing\":{\"a\":1795489019303000000,\"b\":4}}]").unwrap();
                }
            });
        }
    });
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    rt.block_on(async move {
        let ex = Arc::new(HttpExecutor::new(HttpClient::new(), Arc::new(SystemClock), None));
        let run: RunId = "01M85QRDBHC70063SSP1V76AAN".parse().unwrap();
        let req = CallRequest {
            url: format!("http://localhost:{}/api/inngest?fnId=shop-f&stepId=step", addr.port()).into(),
            step_id: "step".into(),
            run,
            function: FunctionId::of_definition("f", "u"),
            app: AppId::of_name("s"),
            job: JobId::start(run),
            generation: 1,
            request: "01M85QRDG76TT6R1ZPYX6N9XV1".parse().unwrap(),
            version: -1,
            body: Bytes::from(vec![b'1'; 700]),
        };
        for _ in 0..4 {
            let n = 50_000;
            let t = Instant::now();
            let c = cpu();
            let mut hs = vec![];
            for _ in 0..16 {
                let ex = ex.clone();
                let req = req.clone();
                hs.push(tokio::spawn(async move {
                    for _ in 0..n / 16 {
                        let r = ex.execute(req.clone()).await.unwrap();
                        assert_eq!(r.status, 206);
                    }
                }));
            }
            for h in hs {
                h.await.unwrap();
            }
            println!(
                "execute: {:.1} us cpu, {:.1} us wall",
                (cpu() - c) / n as f64,
                t.elapsed().as_secs_f64() * 1e6 / n as f64
            );
        }
    });
}
