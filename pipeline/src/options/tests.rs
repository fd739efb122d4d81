use super::*;

const OWN: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
const OUT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

fn reader(address: Ipv4Addr) -> Reader<impl Fn(Ipv4Addr) -> bool> {
    Reader { address, is_own: |address| address == OWN, clock: 0x0102_0304 }
}

fn header(options: &[u8]) -> Vec<u8> {
    let mut header = vec![0; FIXED];
    header[0] = 0x40 | ((FIXED + options.len()) / 4) as u8;
    header.extend(options);
    header
}

/// The options as they leave.
fn pass(options: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut header = header(options);
    let mut found = Options::default();
    found.read(&mut header, &reader(OWN))?;
    found.leave(&mut header, Some(OUT));
    Ok(header[FIXED..].to_vec())
}

#[test]
fn a_route_is_recorded_while_there_is_room() {
    assert_eq!(pass(&[7, 11, 4, 0, 0, 0, 0, 9, 9, 9, 9, 0]).unwrap(), [7, 11, 8, 203, 0, 113, 1, 9, 9, 9, 9, 0]);
    assert_eq!(pass(&[7, 7, 8, 1, 2, 3, 4, 0]).unwrap(), [7, 7, 8, 1, 2, 3, 4, 0]);
    assert_eq!(pass(&[7, 7, 5, 1, 2, 3, 4, 0]), Err(Fault::Nonsense(22)));
}

#[test]
fn times_are_stamped() {
    assert_eq!(pass(&[68, 8, 5, 0, 0, 0, 0, 0]).unwrap(), [68, 8, 9, 0, 1, 2, 3, 4]);
    assert_eq!(pass(&[68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap(), [68, 12, 13, 1, 192, 168, 1, 1, 1, 2, 3, 4]);
    assert_eq!(pass(&[68, 12, 5, 3, 192, 168, 1, 1, 0, 0, 0, 0]).unwrap(), [68, 12, 13, 3, 192, 168, 1, 1, 1, 2, 3, 4]);
    assert_eq!(pass(&[68, 12, 5, 3, 8, 8, 8, 8, 0, 0, 0, 0]).unwrap(), [68, 12, 5, 3, 8, 8, 8, 8, 0, 0, 0, 0]);
    assert_eq!(pass(&[68, 8, 9, 0x20, 0, 0, 0, 0]).unwrap(), [68, 8, 9, 0x30, 0, 0, 0, 0]);
    assert_eq!(pass(&[68, 8, 9, 0xf0, 0, 0, 0, 0]), Err(Fault::Nonsense(23)));
}

#[test]
fn the_checksum_is_right_once_it_has_left() {
    let mut header = header(&[7, 7, 4, 0, 0, 0, 0, 0]);
    let mut found = Options::default();
    found.read(&mut header, &reader(OWN)).unwrap();
    found.leave(&mut header, Some(OUT));
    assert_eq!(checksum::sum(&header), 0xffff);
}

#[test]
fn an_error_records_its_own_source_too() {
    let mut header = header(&[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let mut found = Options::default();
    found.read(&mut header, &reader(OWN)).unwrap();
    let returned = found.returned(&header, &reader(OUT)).unwrap();
    assert_eq!(returned, [7, 11, 12, 192, 168, 1, 1, 203, 0, 113, 1, 0]);
}

#[test]
fn no_bytes_are_too_many() {
    // Every pair of first bytes, in every length of header.
    for kind in 0..=255 {
        for len in 0..=255 {
            for words in 1..=10 {
                let mut options = vec![0x11; words * 4];
                (options[0], options[1]) = (kind, len);
                let mut header = header(&options);
                let mut found = Options::default();
                let _ = found.read(&mut header, &reader(OWN));
                found.leave(&mut header, Some(OUT));
                let _ = found.returned(&header, &reader(OWN));
            }
        }
    }
}
