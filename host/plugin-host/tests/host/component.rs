//! Components that are made of others.

/// `component` with so many instances more of an empty core module.
pub(crate) fn with_instances(mut component: Vec<u8>, count: u32) -> Vec<u8> {
    let modules = u32::try_from(core_modules(&component)).unwrap();
    // https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md: section 1 is a core module,
    // section 2 a list of core instances, of which 0 means `instantiate`.
    section(&mut component, 1, b"\0asm\x01\0\0\0");
    let mut instances = Vec::new();
    leb(&mut instances, count);
    for _ in 0..count {
        instances.push(0);
        leb(&mut instances, modules);
        leb(&mut instances, 0);
    }
    section(&mut component, 2, &instances);
    component
}

/// How many sections are core modules: only those of the component itself count.
fn core_modules(component: &[u8]) -> usize {
    let (mut at, mut count) = (8, 0);
    while at < component.len() {
        let id = component[at];
        at += 1;
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let byte = component[at];
            at += 1;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        at += length;
        count += usize::from(id == 1);
    }
    count
}

fn section(component: &mut Vec<u8>, id: u8, content: &[u8]) {
    component.push(id);
    leb(component, u32::try_from(content.len()).unwrap());
    component.extend_from_slice(content);
}

fn leb(out: &mut Vec<u8>, mut value: u32) {
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
