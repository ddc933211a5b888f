//! The device wall of cgroup v2: rules become a small program that the kernel runs itself.
//!
//! cgroup v2 has no `devices.allow` file. Instead the kernel asks an eBPF program each time a
//! process of the cgroup opens a device or makes a device file: 1 lets it, 0 does not
//! (`EPERM`). The program gets a `struct bpf_cgroup_dev_ctx` of `linux/bpf.h`:
//!
//! ```text
//! offset 0   u32   the access wanted in the upper half, the kind of device in the lower
//! offset 4   u32   major number
//! offset 8   u32   minor number
//! ```
//!
//! It has no loop: one rule's tests after the other, the first rule that fits answers.

use shared::spec::DeviceRule;
use shared::sys::bpf::Instruction;

/// The kind of a block device in the program's input (`BPF_DEVCG_DEV_BLOCK`).
pub const BLOCK: i32 = 1;
/// The kind of a character device (`BPF_DEVCG_DEV_CHAR`).
pub const CHARACTER: i32 = 2;
/// The accesses (`BPF_DEVCG_ACC_…`).
const ACCESSES: [(char, i32); 3] = [('m', 1), ('r', 2), ('w', 4)];
const EVERY_ACCESS: i32 = 7;

/// The registers, by what is in them. The kernel gives the input's address in register 1 and
/// takes the answer from register 0.
#[derive(Clone, Copy)]
enum Register {
    Answer = 0,
    Input = 1,
    Kind = 2,
    Access = 3,
    Major = 4,
    Minor = 5,
    Scratch = 6,
}

// Operations: class | source of the operand | operation.
const LOAD_32: u8 = 0x61; // dst = *(u32 *)(src + offset)
const COPY: u8 = 0xbf; // dst = src
const SET: u8 = 0xb7; // dst = immediate
const AND: u8 = 0x57; // dst &= immediate
const SHIFT_RIGHT: u8 = 0x77; // dst >>= immediate
const JUMP_UNLESS_EQUAL: u8 = 0x55; // if dst != immediate: skip `offset` instructions
const EXIT: u8 = 0x95;

/// The accesses of a rule, `rwm`, as the program's input has them.
pub fn access_bits(access: &str) -> i32 {
    ACCESSES.iter().filter(|(letter, _)| access.contains(*letter)).map(|(_, bit)| bit).sum()
}

// ANCHOR: program
/// The program that allows what one of `rules` allows, and nothing else.
pub fn program(rules: &[DeviceRule]) -> Vec<Instruction> {
    use Register::{Access, Answer, Input, Kind, Major, Minor};
    let mut program = vec![
        with_register(LOAD_32, Kind, Input, 0),
        number(AND, Kind, 0xffff),
        with_register(LOAD_32, Access, Input, 0),
        number(SHIFT_RIGHT, Access, 16),
        with_register(LOAD_32, Major, Input, 4),
        with_register(LOAD_32, Minor, Input, 8),
    ];
    for rule in rules {
        program.extend(allow(rule));
    }
    program.extend([number(SET, Answer, 0), exit()]);
    program
}
// ANCHOR_END: program

/// The tests of one rule, and the answer 1 when all of them hold.
fn allow(rule: &DeviceRule) -> Vec<Instruction> {
    use Register::{Access, Kind, Major, Minor, Scratch};
    let mut tests = Vec::new();
    match rule.kind {
        'b' => tests.push(number(JUMP_UNLESS_EQUAL, Kind, BLOCK)),
        'c' => tests.push(number(JUMP_UNLESS_EQUAL, Kind, CHARACTER)),
        _ => {}
    }
    let forbidden = EVERY_ACCESS & !access_bits(&rule.access);
    if forbidden != 0 {
        tests.push(with_register(COPY, Scratch, Access, 0));
        tests.push(number(AND, Scratch, forbidden));
        tests.push(number(JUMP_UNLESS_EQUAL, Scratch, 0));
    }
    for (register, wanted) in [(Major, rule.major), (Minor, rule.minor)] {
        if let Some(wanted) = wanted {
            // The kernel compares all 64 bits after it has extended the sign of these 32; device
            // numbers have at most 20.
            tests.push(number(JUMP_UNLESS_EQUAL, register, wanted as i32));
        }
    }
    tests.extend([number(SET, Register::Answer, 1), exit()]);
    jump_behind(&mut tests);
    tests
}

/// Makes every jump in `tests` go to what follows them.
fn jump_behind(tests: &mut [Instruction]) {
    let end = tests.len();
    for (at, test) in tests.iter_mut().enumerate() {
        if test.code == JUMP_UNLESS_EQUAL {
            test.offset = (end - at - 1) as i16; // At most 8 instructions.
        }
    }
}

fn with_register(code: u8, to: Register, from: Register, offset: i16) -> Instruction {
    Instruction { code, registers: to as u8 | (from as u8) << 4, offset, immediate: 0 }
}

fn number(code: u8, register: Register, immediate: i32) -> Instruction {
    Instruction { code, registers: register as u8, offset: 0, immediate }
}

fn exit() -> Instruction {
    Instruction { code: EXIT, registers: 0, offset: 0, immediate: 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a process wants of a device.
    #[derive(Debug, Clone, Copy)]
    struct Wish {
        kind: i32,
        access: i32,
        major: u32,
        minor: u32,
    }

    /// What the rules mean, said without a program.
    fn allowed(rules: &[DeviceRule], wish: Wish) -> bool {
        rules.iter().any(|rule| {
            let kind = match rule.kind {
                'b' => wish.kind == BLOCK,
                'c' => wish.kind == CHARACTER,
                _ => true,
            };
            kind && wish.access & !access_bits(&rule.access) == 0
                && rule.major.is_none_or(|major| major == wish.major)
                && rule.minor.is_none_or(|minor| minor == wish.minor)
        })
    }

    /// Runs a program as the kernel would. None: it does something the verifier refuses.
    fn run(program: &[Instruction], wish: Wish) -> Option<u64> {
        let input = [(wish.access << 16 | wish.kind) as u32, wish.major, wish.minor];
        let mut registers: [Option<u64>; 11] = [None; 11];
        let mut at = 0;
        loop {
            let Instruction { code, registers: pair, offset, immediate } = *program.get(at)?;
            let (to, from) = (usize::from(pair & 15), usize::from(pair >> 4));
            let number = i64::from(immediate) as u64;
            at += 1;
            match code {
                LOAD_32 if from == Register::Input as usize => {
                    registers[to] = Some(u64::from(*input.get(usize::try_from(offset).ok()? / 4)?));
                }
                COPY => registers[to] = Some(registers[from]?),
                SET => registers[to] = Some(number),
                AND => registers[to] = Some(registers[to]? & number),
                SHIFT_RIGHT => registers[to] = Some(registers[to]? >> number),
                JUMP_UNLESS_EQUAL => {
                    if registers[to]? != number {
                        at += usize::try_from(offset).ok()?;
                    }
                }
                EXIT => return registers[0],
                _ => return None,
            }
        }
    }

    fn rule() -> impl Strategy<Value = DeviceRule> {
        // Few different numbers, so that rules and wishes often meet.
        let number = || prop::option::of(0..3u32);
        (prop::sample::select(vec!['a', 'b', 'c']), number(), number(), "[rwm]{1,3}")
            .prop_map(|(kind, major, minor, access)| DeviceRule { kind, major, minor, access })
    }

    fn wish() -> impl Strategy<Value = Wish> {
        (BLOCK..=CHARACTER, 1..=EVERY_ACCESS, 0..3u32, 0..3u32)
            .prop_map(|(kind, access, major, minor)| Wish { kind, access, major, minor })
    }

    proptest! {
        #[test]
        fn the_program_answers_what_the_rules_mean(
            rules in prop::collection::vec(rule(), 0..8),
            wishes in prop::collection::vec(wish(), 1..32),
        ) {
            let program = program(&rules);
            for wish in wishes {
                prop_assert_eq!(
                    run(&program, wish),
                    Some(u64::from(allowed(&rules, wish))),
                    "{:?}", wish
                );
            }
        }
    }

    #[test]
    fn without_rules_nothing_is_allowed() {
        let wish = Wish { kind: CHARACTER, access: 2, major: 1, minor: 3 };
        assert_eq!(run(&program(&[]), wish), Some(0));
    }
}
