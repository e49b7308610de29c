use std::time::Duration;

use bytes::Bytes;

use super::*;

async fn temporary() -> (tempfile::TempDir, InvoiceStore) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = format!("file://{}", folder.path().join("made/on/demand").display());
    let store = open(&url).await.expect("a fresh folder opens");
    (folder, store)
}

#[tokio::test]
async fn what_is_put_is_read_back_and_replaced() {
    let (_folder, store) = temporary().await;
    for content in ["%PDF-1 first", "%PDF-1 second, longer"] {
        store.put("invoice_AC-1.pdf", Bytes::from(content)).await.expect("written");
        let file = store.get("invoice_AC-1.pdf").await.expect("there");
        assert_eq!(file.size, content.len() as u64);
        assert_eq!(file.bytes().await.expect("readable"), content);
    }
    assert!(
        matches!(store.get("invoice_AC-2.pdf").await, Err(StoreError::NotFound(name)) if name == "invoice_AC-2.pdf")
    );
}

#[tokio::test]
async fn every_order_number_has_a_file_of_its_own() {
    let (_folder, store) = temporary().await;
    let longest = "क".repeat(32);
    let hostile = "/".repeat(32);
    let numbers =
        ["AC-1", "AC/1", "AC_1", "AC%2F1", "..", ".", "../../etc", "a b#1", "a\\b\"\u{7f}", &longest, &hostile];
    for number in numbers {
        store.put(&InvoiceStore::invoice_name(number), Bytes::from(number.to_owned())).await.expect(number);
    }
    for number in numbers {
        let name = InvoiceStore::invoice_name(number);
        assert_eq!(store.get(&name).await.expect(number).bytes().await.expect("readable"), number);
        assert!(std::path::Path::new(&store.display_path(&name)).is_file(), "{name} is at its display path");
    }
    store.put("price_list.pdf", Bytes::from_static(b"%PDF")).await.expect("another file");
    let mut listed = store.documents(SystemTime::UNIX_EPOCH).await.expect("a list");
    let mut names = numbers.map(InvoiceStore::invoice_name);
    listed.sort();
    names.sort();
    assert_eq!(listed, names);
    let in_the_23rd_century = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000_000_000);
    assert!(store.documents(in_the_23rd_century).await.expect("a list").is_empty());
    assert_eq!(InvoiceStore::invoice_name("AC-2026-000123"), "invoice_AC-2026-000123.pdf");
    assert_eq!(InvoiceStore::invoice_name("ऑर्डर/1"), "invoice_ऑर्डर%2F1.pdf");
}

#[tokio::test]
async fn names_that_are_not_one_segment_are_refused() {
    let (_folder, store) = temporary().await;
    for name in ["", "a/b.pdf", "..", ".", "a\0b"] {
        assert!(matches!(store.get(name).await, Err(StoreError::BadName { .. })), "{name:?}");
    }
}

#[tokio::test]
async fn an_unfinished_upload_is_found() {
    let (folder, store) = temporary().await;
    store.put("invoice_A#1.pdf", Bytes::from_static(b"%PDF")).await.expect("written");
    assert!(store.unfinished_uploads(Duration::ZERO).expect("a folder").is_empty());
    std::fs::write(folder.path().join("made/on/demand/invoice_B.pdf#1"), "%PD").expect("half a file");
    assert_eq!(store.unfinished_uploads(Duration::ZERO).expect("a folder"), ["invoice_B.pdf#1"]);
    assert!(store.unfinished_uploads(Duration::from_secs(3600)).expect("a folder").is_empty(), "may be under way");
}

#[tokio::test]
async fn a_writer_removes_what_killed_writers_of_the_same_file_left() {
    let (folder, store) = temporary().await;
    for left in ["invoice_A.pdf#1", "invoice_A.pdf#2", "invoice_B.pdf#1"] {
        std::fs::write(folder.path().join("made/on/demand").join(left), "%PD").expect("half a file");
    }
    store.put("invoice_A.pdf", Bytes::from_static(b"%PDF")).await.expect("written");
    assert_eq!(store.unfinished_uploads(Duration::ZERO).expect("a folder"), ["invoice_B.pdf#1"]);
    assert_eq!(store.get("invoice_A.pdf").await.expect("there").size, 4);
}

#[tokio::test]
async fn opening_to_read_creates_no_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = folder.path().join("nothing").display().to_string();
    assert!(matches!(open_existing(&url).await, Err(OpenError::Folder { .. })));
    assert!(!folder.path().join("nothing").exists());
    assert!(open_existing(&folder.path().display().to_string()).await.is_ok());
}

#[tokio::test]
async fn an_invalid_url_is_refused_with_a_reason() {
    for (url, reason) in [
        (" ", "empty"),
        ("gs://bucket/invoices", "\"gs\""),
        ("file://host/share", "without a host"),
        ("/dev/null/invoices", "cannot be used"),
        ("s3://", "a bucket's name"),
        ("s3://my bucket/x", "a bucket's name"),
        ("s3://bucket/a//b", "Path"),
    ] {
        let refusal = open(url).await.expect_err(url).to_string();
        assert!(refusal.contains(reason), "{url}: {refusal}");
    }
}

#[test]
fn the_display_path_of_a_bucket_is_its_url() {
    for (url, shown) in [
        ("s3://shop/bills/2026", "s3://shop/bills/2026/invoice_A.pdf"),
        ("s3://shop/bills/", "s3://shop/bills/invoice_A.pdf"),
        ("s3://shop", "s3://shop/invoice_A.pdf"),
    ] {
        let store = connect(url, []).expect(url);
        assert_eq!(store.display_path("invoice_A.pdf"), shown);
        assert!(store.unfinished_uploads(Duration::ZERO).expect("no uploads").is_empty());
    }
}
