//! Command lines.

/// What a command needs before it can be legal.
const COMMANDS: [(&str, &str); 22] = [
    ("-L", ""),
    ("-L dying", ""),
    ("-L unconfirmed", ""),
    ("-L expect", ""),
    ("-G", "-s 10.0.0.1 -d 10.9.0.1 -p tcp --sport 1111 --dport 80"),
    ("-G expect", ""),
    ("-D", "-s 10.0.0.1"),
    ("-D expect", ""),
    ("-I", "-s 10.1.0.1 -d 10.9.0.1 -p tcp --sport 1111 --dport 80 --state ESTABLISHED -t 500"),
    ("-I", "-s 10.1.0.1 -d 10.9.0.1 -p udp --sport 1111 --dport 80 -t 500"),
    ("-I expect", ""),
    ("-A", "-s 10.0.0.2 -d 10.9.0.1 -p tcp --sport 2222 --dport 443 --state SYN_SENT -t 500"),
    ("-A", "-s fd00::1 -d fd00::2 -p icmpv6 --icmpv6-type 128 --icmpv6-code 0 -t 500"),
    ("-U", "-s 10.0.1.1 -m 77"),
    ("-U", "-s 10.0.0.1 -p tcp --state FIN_WAIT"),
    ("-E", ""),
    ("-F", ""),
    ("-F expect", ""),
    ("-C", ""),
    ("-S", ""),
    ("-V", ""),
    ("-h", ""),
];

const OPTIONS: [&str; 88] = [
    "-s 10.0.0.1",
    "-s 10.0.0.0/8",
    "-s fd00::1",
    "-s ::/0",
    "-d 10.9.0.1",
    "-d 10.9.0.0/30",
    "-r 10.9.0.1",
    "-r 10.7.0.1",
    "-q 10.0.0.1",
    "-q 5.5.5.5",
    "-r 10.9.0.3 -q 10.0.1.1",
    "-p tcp",
    "-p udp",
    "-p icmp",
    "-p icmpv6",
    "-p gre",
    "-p udplite",
    "-p 99",
    "-p 0x11",
    "-p igmp",
    "-p nosuch",
    "-t 50",
    "-t",
    "-u ASSURED",
    "-u SEEN_REPLY",
    "-u assured,see",
    "-u UNREPLIED",
    "-u !ASSURED",
    "-u FIXED",
    "-u EXPECTED",
    "-u OFFLOAD",
    "-u BOGUS",
    "-z",
    "-e NEW",
    "-e BOGUS",
    "--tuple-src 10.0.0.1",
    "--tuple-dst 10.0.0.1",
    "--mask-src 255.0.0.0",
    "--mask-dst 255.0.0.0",
    "-s 10.0.0.1 --mask-src 255.255.0.0",
    "-d 10.9.0.1 --mask-dst 255.255.255.0",
    "-a 1.1.1.1",
    "-m 1",
    "-m 0x10",
    "-m 1/0xff",
    "-m 0",
    "-c 0",
    "-c 5",
    "-i 0",
    "-f ipv4",
    "-f ipv6",
    "-f ipx",
    "-n",
    "-n 5.5.5.5",
    "-n 5.5.5.6",
    "-n 5.5.5.5:99",
    "-g",
    "-g 10.7.0.1",
    "-g 10.7.0.1:5353",
    "-g 10.7.0.1:5354",
    "-j",
    "-j 5.5.5.5",
    "-n -g",
    "-n -j",
    "-o xml",
    "-o extended,id",
    "-o timestamp",
    "-o ktimestamp",
    "-o labels",
    "-o save",
    "-o userspace",
    "-o bogus",
    "-b 100000",
    "-w 3",
    "-w 0",
    "--orig-zone 4",
    "--orig-zone 0",
    "--reply-zone 5",
    "-l alpha",
    "-l alpha,delta",
    "-l nosuch",
    "--label-add beta",
    "--label-add alpha",
    "--label-del alpha",
    "--label-del",
    "--nonsense",
    "-x",
    "-L",
];

/// Options that a protocol brings.
const PROTOCOL_OPTIONS: [&str; 34] = [
    "-p tcp --sport 1111",
    "-p tcp --dport 80",
    "-p tcp --sport 1111 --dport 80",
    "-p tcp --orig-port-src 1111 --orig-port-dst 80",
    "-p tcp --reply-port-src 80",
    "-p tcp --reply-port-dst 1111",
    "-p tcp --mask-port-src 1",
    "-p tcp --mask-port-dst 1",
    "-p tcp --tuple-port-src 1",
    "-p tcp --tuple-port-dst 1",
    "-p tcp --state ESTABLISHED",
    "-p tcp --state LISTEN",
    "-p tcp --state bogus",
    "-p tcp --sport",
    "-p tcp --icmp-type 8",
    "-p udp --sport 53000",
    "-p udp --dport 53",
    "-p udp --state ESTABLISHED",
    "-p udp --reply-port-src 5353",
    "-p udplite --sport 7",
    "-p udplite --mask-port-src 7",
    "-p gre --srckey 0x10",
    "-p gre --dstkey 0x20",
    "-p gre --srckey 1 --dstkey 2",
    "-p gre --tuple-key-src 2",
    "-p icmp --icmp-type 8",
    "-p icmp --icmp-code 0",
    "-p icmp --icmp-id 77",
    "-p icmp --icmp-id 78",
    "-p icmp --icmp-type 8 --icmp-code 0",
    "-p icmpv6 --icmpv6-type 128",
    "-p icmpv6 --icmpv6-id 9",
    "-p sctp --sport 5",
    "-p sctp --orig-vtag 5",
];

/// Shapes of whole lines that no combination gives.
const WHOLE: [&str; 48] = [
    "-I -s 10.1.0.1 -d 10.9.0.1 -r 10.9.0.1 -n 5.5.5.5 -p udp --sport 1 --dport 2 --reply-port-src 2 --reply-port-dst 9 -t 50",
    "-I -s 10.1.0.1 -d 10.9.0.1 -g 6.6.6.6 -q 10.1.0.1 -p udp --sport 1 --dport 2 --reply-port-src 7 --reply-port-dst 1 -t 50",
    "-L -p sctp --state ESTABLISHED",
    "-L -p sctp -o save",
    "-L -p sctp -o xml",
    "-U -s 10.0.4.4 -p sctp --state SHUTDOWN_SENT --orig-vtag 5 --reply-vtag 6",
    "-U -s 10.0.4.4 -p sctp --state SHUTDOWN_SENT",
    "-I -s 10.1.0.1 -d 10.9.0.1 -p sctp --sport 1 --dport 2 --state COOKIE_WAIT --orig-vtag 1 -t 50",
    "",
    "conntrack",
    "stray words -L",
    "-L -L",
    "-I -D",
    "--dump",
    "--dum",
    "--get",
    "--mark 1 -L",
    "-Lz",
    "-L --zero=1",
    "-L --zer",
    "-L --orig 1.1.1.1",
    "-L --orig-s 10.0.0.1",
    "-L --proto udp",
    "-L -ptcp --sport=1111",
    "-L conntrack -p tcp",
    "-L conn",
    "-L foo",
    "-L dying -z",
    "-C exp",
    "-C dying",
    "-S expect",
    "-R /nonexistent/file",
    "-L -R /dev/null",
    "-R /dev/null",
    "-I -r 10.9.0.1 -q 10.1.0.1 -p udp --reply-port-src 80 --reply-port-dst 1111 -t 500",
    "-I -r 10.9.0.1 -q 10.1.0.1 -p udp --reply-port-src 80 -t 500",
    "-I -r 10.9.0.1 -p udp --reply-port-src 80 --reply-port-dst 1 -t 500",
    "-I -s 10.1.0.1 -d 10.9.0.1 -r 10.9.0.8 -q 10.1.0.1 -p udp --sport 1 --dport 2 --reply-port-src 2 --reply-port-dst 1 -t 500",
    "-I -s 10.1.0.1 -d 10.9.0.1 -r 10.9.0.8 -q 10.1.0.1 -p udp --sport 1 --dport 2 -t 500",
    "-I -s 10.1.0.1 -d 10.9.0.1 -p tcp -t 500",
    "-I -p tcp -t 500",
    "-I -s 10.1.0.1 -d 10.9.0.1 -p icmp --icmp-type 3 --icmp-code 1 -t 500",
    "-I -s 10.1.0.1 -d 10.9.0.1 -p 99 -t 500",
    "-I -s 10.1.0.1 -d 10.9.0.1 -p udp --sport 1 --dport 2 --reply-port-src 9 --reply-port-dst 8 -t 500",
    "-D",
    "-F -f ipv4",
    "-U -f ipv6 -m 9",
    "-U -f ipv4 -p udp --label-add omega",
];

/// Every line of the test.
pub(crate) fn all() -> Vec<Vec<String>> {
    let mut lines: Vec<Vec<String>> = WHOLE.iter().map(|l| words(l)).collect();
    for (command, base) in COMMANDS {
        lines.push(words(&format!("{command} {base}")));
        for option in OPTIONS.iter().chain(&PROTOCOL_OPTIONS) {
            lines.push(words(&format!("{command} {option}")));
            if !base.is_empty() {
                lines.push(words(&format!("{command} {base} {option}")));
            }
        }
    }
    let mut dice = Dice(std::env::var("UCT_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1));
    let pairs = std::env::var("UCT_LINES").ok().and_then(|s| s.parse().ok()).unwrap_or(600);
    for _ in 0..pairs {
        let (command, base) = COMMANDS[dice.below(COMMANDS.len())];
        let base = if dice.below(3) == 0 { "" } else { base };
        let mut line = format!("{command} {base}");
        for _ in 0..1 + dice.below(3) {
            let options: &[&str] = if dice.below(3) == 0 { &PROTOCOL_OPTIONS } else { &OPTIONS };
            line = format!("{line} {}", options[dice.below(options.len())]);
        }
        lines.push(words(&line));
    }
    lines
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Whether a line may change a table.
pub(crate) fn changes(line: &[String]) -> bool {
    line.iter().any(|w| matches!(w.as_str(), "-D" | "-I" | "-A" | "-U" | "-F"))
}

/// Numbers that look random and are the same every time (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }
}
