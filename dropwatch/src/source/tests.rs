//! A kernel and a module in small, built here by the compiler that links Rust programs.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    process::Command,
    sync::LazyLock,
};

use flate2::{Compression, write::GzEncoder};
use object::{Object as _, ObjectSymbol as _};
use tempfile::TempDir;

use super::*;

const KERNEL_ID: &str = "0102030405060708";
const MODULE_ID: &str = "1112131415161718";

/// Twice the same function in a header, as the kernel has many.
const HEADER: &str = "\
__attribute__((noinline, noipa)) static int same(int x)
{
    return sink(x) + 1;
}
";

const MAIN: &str = "\
int sink(int);
#include \"net.h\"
static inline __attribute__((always_inline)) int inner(int x)
{
    int y = sink(x);
    asm volatile (\".globl back\\nback:\" : \"+r\" (y));
    return y + 1;
}
__attribute__((noinline, noipa)) int outer(int x)
{
    return inner(x) * 3;
}
__attribute__((noinline, noipa)) static int twin(int x)
{
    return sink(x) + 3;
}
void start_kernel(void)
{
    outer(twin(same(1)));
}
";

const OTHER: &str = "\
int sink(int);
#include \"net.h\"

__attribute__((noinline, noipa)) static int twin(int x)
{
    return sink(x) + 2;
}
int other(void) { return twin(same(2)); }
__attribute__((noinline, noipa)) int sink(int x) { return x; }
";

/// Code in two sections, which both begin at 0.
const MODULE: &str = "\
int sink(int);
int toy(int x)
{
    return sink(x) + 1;
}
__attribute__((section(\".init.text\"))) int toy_init(int x)
{
    return sink(x) + 2;
}
";

/// Folders with the files of a host, as `/` has them, and where they were built.
struct Host {
    root: TempDir,
    vmlinux: PathBuf,
    module: PathBuf,
}

static HOST: LazyLock<Host> = LazyLock::new(|| build(&[]));

/// Builds all of it, with more flags for the compiler.
fn build(flags: &[&str]) -> Host {
    let root = tempfile::tempdir().unwrap();
    let source = root.path().join("build/linux");
    let release = uname().release().to_string_lossy().into_owned();
    let vmlinux = root
        .path()
        .join(format!("usr/lib/debug/boot/vmlinux-{release}"));
    let modules = root
        .path()
        .join(format!("usr/lib/debug/lib/modules/{release}/kernel/net"));
    let module = modules.join("toy.ko");
    for folder in [&source.join("init"), &modules, vmlinux.parent().unwrap()] {
        fs::create_dir_all(folder).unwrap();
    }
    for (file, text) in [
        ("net.h", HEADER),
        ("init/main.c", MAIN),
        ("other.c", OTHER),
        ("toy.c", MODULE),
    ] {
        fs::write(source.join(file), text).unwrap();
    }
    let cc = |args: &[&str], output: &Path| {
        let mut command = Command::new("cc");
        command
            .current_dir(&source)
            .args(["-g", "-O2", "-I."])
            .args(flags);
        command.args(args).arg("-o").arg(output);
        let ended = command.output().unwrap();
        assert!(ended.status.success(), "{command:?}: {ended:?}");
    };
    let [kernel, module_id] = [KERNEL_ID, MODULE_ID].map(|id| format!("-Wl,--build-id=0x{id}"));
    let link = ["-nostdlib", "-static", "-no-pie", "-Wl,-e,start_kernel"];
    let args = [&["init/main.c", "other.c", &kernel][..], &link].concat();
    cc(&args, &vmlinux);
    let compiled = source.join("toy.o");
    cc(&["-c", "toy.c"], &compiled);
    cc(&["-r", "-nostdlib", "toy.o", &module_id], &module);
    let host = Host {
        root,
        vmlinux,
        module,
    };
    host.shows("sys/kernel/notes", KERNEL_ID);
    host.shows("sys/module/toy/notes/.note.gnu.build-id", MODULE_ID);
    host
}

impl Host {
    /// Has the kernel show this build id in a file.
    fn shows(&self, path: &str, id: &str) {
        let id = BuildId::parse(id).unwrap();
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, build_id::note(&id)).unwrap();
    }

    fn sources(&self) -> Sources {
        Sources::below(self.root.path(), &Options::default()).unwrap()
    }

    /// Distance of `symbol` from `function` in the kernel.
    fn distance(&self, function: &str, symbol: &str) -> u64 {
        let bytes = fs::read(&self.vmlinux).unwrap();
        let object = object::File::parse(&*bytes).unwrap();
        let address = |name| object.symbol_by_name(name).unwrap().address();
        address(symbol) - address(function)
    }
}

/// Places as `file:line function`.
fn texts(positions: &[Position]) -> Vec<String> {
    let text = |position: &Position| {
        let Position {
            file,
            line,
            function,
        } = position;
        format!(
            "{file}:{} {}",
            line.unwrap_or_default(),
            function.as_deref().unwrap_or("-")
        )
    };
    positions.iter().map(text).collect()
}

fn located(sources: &mut Sources, frame: &str) -> Vec<String> {
    match sources.locate(&Frame::parse(frame).unwrap()) {
        Ok(Located::At(positions)) => texts(&positions),
        other => panic!("{frame}: {other:?}"),
    }
}

fn error(sources: &mut Sources, frame: &str) -> String {
    let frame = Frame::parse(frame).unwrap();
    format!("{:#}", sources.locate(&frame).unwrap_err())
}

#[test]
fn a_return_address_is_the_call_before_it_with_what_was_inlined() {
    let host = &*HOST;
    let mut sources = host.sources();
    assert_eq!(sources.vmlinux().unwrap(), host.vmlinux);
    let back = host.distance("outer", "back");
    // The instruction at that address is line 6's or 7's.
    assert_eq!(
        located(&mut sources, &format!("outer+{back:#x}")),
        ["init/main.c:5 inner", "init/main.c:11 outer"]
    );
    assert_eq!(located(&mut sources, "outer+0x0"), ["init/main.c:10 outer"]);
}

#[test]
fn an_offset_behind_the_function_is_that_of_no_call() {
    let mut sources = HOST.sources();
    let far = error(&mut sources, "outer+0x4000");
    assert!(far.contains("has no outer+0x4000"), "{far}");
    let unknown = error(&mut sources, "inner+0x1");
    assert!(unknown.contains("has no inner+0x1"), "{unknown}");
}

#[test]
fn functions_of_one_name_are_told_apart_or_all_shown() {
    let mut sources = HOST.sources();
    let frame = Frame::parse("twin+0x1").unwrap();
    let Located::Either(found) = sources.locate(&frame).unwrap() else {
        panic!("two functions are called twin");
    };
    let mut files: Vec<_> = found.iter().map(|positions| &positions[0].file).collect();
    files.sort();
    assert_eq!(files, ["init/main.c", "other.c"]);
    // Their own copies of a header's function are in one place.
    assert_eq!(located(&mut sources, "same+0x1"), ["net.h:2 same"]);
}

#[test]
fn a_module_is_relocatable_and_its_sections_lie_apart() {
    let mut sources = HOST.sources();
    assert_eq!(located(&mut sources, "toy+0x1[toy]"), ["toy.c:3 toy"]);
    assert_eq!(
        located(&mut sources, "toy_init+0x1[toy]"),
        ["toy.c:7 toy_init"]
    );
    assert!(error(&mut sources, "toy+0x1").contains("has no toy+0x1"));
    assert!(error(&mut sources, "outer+0x1[toy]").contains("has no outer+0x1"));
    let bpf = error(&mut sources, "bpf_prog_1_x+0x1[bpf]");
    assert!(bpf.contains("eBPF programs"), "{bpf}");
    let absent = error(&mut sources, "f+0x1[absent]");
    assert!(absent.contains("build id of module absent"), "{absent}");
}

#[test]
fn compressed_debug_information_is_read() {
    let host = build(&["-gz=zlib"]);
    let mut sources = host.sources();
    let back = host.distance("outer", "back");
    let frame = format!("outer+{back:#x}");
    assert_eq!(located(&mut sources, &frame)[0], "init/main.c:5 inner");
    assert_eq!(located(&mut sources, "toy+0x1[toy]"), ["toy.c:3 toy"]);
    // So is a module that is packed as a whole.
    let packed = File::create(host.module.with_extension("ko.gz")).unwrap();
    let mut encoder = GzEncoder::new(packed, Compression::fast());
    encoder.write_all(&fs::read(&host.module).unwrap()).unwrap();
    encoder.finish().unwrap();
    fs::remove_file(&host.module).unwrap();
    assert_eq!(
        located(&mut host.sources(), "toy+0x1[toy]"),
        ["toy.c:3 toy"]
    );
}

#[test]
fn another_build_is_refused() {
    let host = build(&[]);
    host.shows("sys/module/toy/notes/.note.gnu.build-id", KERNEL_ID);
    let mut sources = host.sources();
    let refused = error(&mut sources, "toy+0x1[toy]");
    assert!(
        refused.contains("toy.ko: is of another build") && refused.contains(MODULE_ID),
        "{refused}"
    );
    host.shows("sys/kernel/notes", MODULE_ID);
    let sources = host.sources();
    let refused = sources.vmlinux().unwrap_err().to_string();
    assert!(
        refused.contains("is of another build: its build id is 0102030405060708, not 1112"),
        "{refused}"
    );
    // Unless it is asked for. Nothing tells then which modules that kernel had.
    let options = Options {
        build_id: BuildId::parse(KERNEL_ID),
        ..Options::default()
    };
    let mut sources = Sources::below(host.root.path(), &options).unwrap();
    assert_eq!(located(&mut sources, "outer+0x0"), ["init/main.c:10 outer"]);
    let other = error(&mut sources, "toy+0x1[toy]");
    assert!(other.contains("modules of another kernel"), "{other}");
}

#[test]
fn a_file_without_debug_information_is_none() {
    let host = build(&["-g0"]);
    let sources = host.sources();
    let error = sources.vmlinux().unwrap_err().to_string();
    assert!(error.contains("has no debug information"), "{error}");
    fs::write(&host.vmlinux, "").unwrap();
    assert!(host.sources().vmlinux().is_err());
    fs::write(&host.vmlinux, "no ELF").unwrap();
    assert!(host.sources().vmlinux().is_err());
    fs::remove_file(&host.vmlinux).unwrap();
    fs::create_dir_all(host.root.path().join("etc")).unwrap();
    fs::write(host.root.path().join("etc/os-release"), "ID=debian\n").unwrap();
    let error = host.sources().vmlinux().unwrap_err().to_string();
    let release = uname().release().to_string_lossy().into_owned();
    assert_eq!(
        error,
        format!(
            "no debug file of the kernel (build id {KERNEL_ID}) was found; install \
             linux-image-{release}-dbg, or give it with --vmlinux"
        )
    );
}

/// What is wrong with it, which file, what to do: in one line.
#[test]
fn a_given_file_that_is_of_no_use_is_named() {
    let host = build(&["-g0"]);
    let absent = host.root.path().join("absent");
    for (path, wrong) in [
        (&absent, "there is no such file"),
        (&host.vmlinux, "has no debug information"),
    ] {
        let options = Options {
            vmlinux: Some(path.clone()),
            ..Options::default()
        };
        let mut sources = Sources::below(host.root.path(), &options).unwrap();
        assert_eq!(
            error(&mut sources, "outer+0x1"),
            format!(
                "no debug file of the kernel: {}: {wrong}; give --vmlinux the vmlinux of this \
                 build, or leave it out to look in /usr/lib/debug",
                path.display()
            )
        );
    }
}

#[test]
fn a_file_that_is_cut_off_anywhere_is_no_reason_to_end() {
    let host = build(&[]);
    let whole = fs::read(&host.vmlinux).unwrap();
    let id = BuildId::parse(KERNEL_ID).unwrap();
    let frame = Frame::parse("outer+0x1").unwrap();
    for part in 0..64 {
        let cut = host.root.path().join(format!("cut{part}"));
        fs::write(&cut, &whole[..whole.len() * part / 64]).unwrap();
        if let Ok(Some(mut file)) = DebugFile::open(&cut, &id) {
            drop(locate_in(&mut file, &frame, &[]));
        }
    }
}

#[test]
fn modules_that_have_changed_are_looked_for_again() {
    let host = build(&[]);
    let mut sources = host.sources();
    assert_eq!(located(&mut sources, "toy+0x1[toy]"), ["toy.c:3 toy"]);
    sources.forget_modules();
    assert_eq!(sources.modules.len(), 1, "the same build");
    host.shows("sys/module/toy/notes/.note.gnu.build-id", KERNEL_ID);
    sources.forget_modules();
    assert!(error(&mut sources, "toy+0x1[toy]").contains("another build"));
}

#[test]
fn servers_are_asked_by_the_program_of_elfutils() {
    let host = build(&[]);
    let program = host.root.path().join("debuginfod-find");
    let id = BuildId::parse(KERNEL_ID).unwrap();
    let other = BuildId::parse(MODULE_ID).unwrap();
    let script = format!(
        "#!/bin/sh\n[ \"$1 $2\" = 'debuginfo {KERNEL_ID}' ] && echo '{}' && exit\n\
         echo 'Server query failed: No such file or directory' >&2; exit 1\n",
        host.vmlinux.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(debuginfod::ask(&program, &id).unwrap(), host.vmlinux);
    let error = format!("{:#}", debuginfod::ask(&program, &other).unwrap_err());
    assert!(error.contains("No such file"), "{error}");
    let absent = host.root.path().join("absent");
    let error = format!("{:#}", debuginfod::ask(&absent, &id).unwrap_err());
    assert!(error.contains("needs the program"), "{error}");
}
