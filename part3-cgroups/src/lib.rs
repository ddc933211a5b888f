//! stand-in
pub fn recipe(r: &shared::part::Request) -> shared::Result<shared::recipe::Recipe> {
    part2_namespaces::recipe(r)
}
pub fn part() -> shared::part::Part {
    let mut p = part2_namespaces::part();
    p.recipe = recipe;
    p
}
