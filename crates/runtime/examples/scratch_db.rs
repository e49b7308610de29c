use std::time::{Duration, Instant};
use sqlx::{PgPool, Executor, postgres::PgPoolOptions};
async fn leak(pool: &PgPool) -> (i64, i64) {
    sqlx::query("drop table if exists t").execute(pool).await.unwrap();
    sqlx::query("create table t(i int)").execute(pool).await.unwrap();
    let mut lost = 0;
    for round in 0..300u64 {
        let p = pool.clone();
        let task = tokio::spawn(async move { let _t = p.begin().await; std::future::pending::<()>().await; });
        tokio::time::sleep(Duration::from_micros(round % 60 * 5)).await;
        task.abort();
        let _ = task.await;
        sqlx::query("insert into t values ($1)").bind(round as i32).execute(pool).await.unwrap();
        lost += 0;
    }
    let _ = lost;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let opts = pool.connect_options();
    let fresh = PgPoolOptions::new().connect_with((*opts).clone()).await.unwrap();
    let n: i64 = sqlx::query_scalar("select count(*) from t").fetch_one(&fresh).await.unwrap();
    let idle: i64 = sqlx::query_scalar("select count(*) from pg_stat_activity where state = 'idle in transaction'").fetch_one(&fresh).await.unwrap();
    (300 - n, idle)
}
async fn cost(pool: &PgPool) -> Duration {
    for _ in 0..200 { let mut c = pool.acquire().await.unwrap(); c.execute("select 1").await.unwrap(); }
    let s = Instant::now();
    for _ in 0..5000 { let mut c = pool.acquire().await.unwrap(); sqlx::query("select 1").execute(&mut *c).await.unwrap(); }
    s.elapsed() / 5000
}
#[tokio::main]
async fn main() {
    let url = std::env::args().nth(1).unwrap();
    let cfg = runtime::config::DatabaseConfig { database_url: url.clone().into(), max_connections: 4, ..Default::default() };
    let _g = runtime::telemetry::init("scratch", &Default::default()).unwrap();
    let plain = PgPoolOptions::new().max_connections(4).test_before_acquire(false).connect(&url).await.unwrap();
    let ours = runtime::database::connect(&cfg, Some("postgres"), "scratch").await.unwrap();
    println!("plain lost, idle-in-tx {:?}", leak(&plain).await);
    plain.close().await;
    println!("ours lost, idle-in-tx {:?}", leak(&ours).await);
    let plain = PgPoolOptions::new().max_connections(4).test_before_acquire(false).connect(&url).await.unwrap();
    println!("cost plain {:?} ours {:?}", cost(&plain).await, cost(&ours).await);
    let r: Result<i32, sqlx::Error> = runtime::database::in_transaction(&ours, |c| Box::pin(async move {
        sqlx::query("insert into t values (1000)").execute(&mut *c).await?; sqlx::query_scalar("select 7").fetch_one(c).await })).await;
    println!("{r:?}");
    let e: Result<(), runtime::ApiError> = runtime::database::in_transaction(&ours, |c| Box::pin(async move {
        sqlx::query("insert into t values (1001)").execute(&mut *c).await?; sqlx::query("select nonsense").execute(c).await?; Ok(()) })).await;
    println!("{e:?}");
    let n: Vec<i32> = sqlx::query_scalar("select i from t where i >= 1000").fetch_all(&ours).await.unwrap();
    println!("{n:?} role {}", sqlx::query_scalar::<_, String>("select current_user || ' ' || current_setting('statement_timeout') || ' ' || current_setting('application_name')").fetch_one(&ours).await.unwrap());
    let check = runtime::health::routes(vec![runtime::health::Check::database(&ours)]);
    use tower::ServiceExt;
    for p in ["/health/ready", "/metrics"] {
        let r = check.clone().oneshot(axum::http::Request::get(p).body(axum::body::Body::empty()).unwrap()).await.unwrap();
        println!("{} {}", r.status(), String::from_utf8_lossy(&axum::body::to_bytes(r.into_body(), 99999).await.unwrap()));
    }
    ours.close().await;
    let r = check.clone().oneshot(axum::http::Request::get("/health/ready").body(axum::body::Body::empty()).unwrap()).await.unwrap();
    println!("{} {}", r.status(), String::from_utf8_lossy(&axum::body::to_bytes(r.into_body(), 99999).await.unwrap()));
}
