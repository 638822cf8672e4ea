use std::collections::BTreeMap;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{
    Area, GRID, LETTERS, SvgError, WIDTH, colour, label_style, name_width, plain, short, tick, write,
};
use crate::chart::Heat;
use crate::palette;

/// Side of the largest square.
const SQUARE_MAX: u32 = 22;

/// Height of the scale of colours and what is written at it.
const SCALE: u32 = 44;

/// Steps of the scale of colours.
const STEPS: u32 = 40;

fn square(heat: &Heat) -> u32 {
    let room = WIDTH - name_width(heat.names.iter().map(String::as_str)) - 20;
    (room / heat.names.len().max(1) as u32).clamp(4, SQUARE_MAX)
}

pub(super) fn height(heat: &Heat) -> u32 {
    SCALE + heat.names.len() as u32 * square(heat) + name_width(heat.names.iter().map(String::as_str))
}

pub(super) fn draw(area: &Area<'_>, heat: &Heat) -> Result<(), SvgError> {
    let left = name_width(heat.names.iter().map(String::as_str)) as i32;
    let (side, top) = (square(heat) as i32, SCALE as i32);
    let values = heat.cells.iter().map(|cell| cell.value);
    let low = values.clone().fold(0.0, f64::min);
    let high = values.fold(0.0, f64::max);
    scale(area, heat, (low, high), left)?;
    let places = heat.names.iter().zip(0..);
    let places: BTreeMap<&str, i32> = places.map(|(name, place)| (name.as_str(), place)).collect();
    let end = side * heat.names.len() as i32;
    area.draw(&Rectangle::new([(left, top), (left + end, top + end)], GRID))?;
    for cell in &heat.cells {
        let place = |name: &str| places.get(name).copied();
        let Some((row, column)) = place(&cell.row).zip(place(&cell.column)) else { continue };
        let fill = colour(palette::heat(cell.value, (low, high), heat.is_diverging));
        let corner = (left + column * side, top + row * side);
        area.draw(&Rectangle::new([corner, (corner.0 + side - 1, corner.1 + side - 1)], fill.filled()))?;
    }
    let upright = ("sans-serif", LETTERS)
        .into_font()
        .transform(FontTransform::Rotate270)
        .color(&super::INK)
        .pos(Pos::new(HPos::Right, VPos::Center));
    for (name, place) in heat.names.iter().zip(0..) {
        let middle = place * side + side / 2;
        write(area, &short(name), (left - 7, top + middle), label_style(HPos::Right))?;
        area.draw_text(&plain(&short(name)), &upright, (left + middle, top + end + 7))?;
    }
    Ok(())
}

/// The colours from the least to the most.
fn scale(area: &Area<'_>, heat: &Heat, (low, high): (f64, f64), left: i32) -> Result<(), SvgError> {
    write(area, &heat.legend, (left, 6), label_style(HPos::Left))?;
    for step in 0..STEPS {
        let value = low + (high - low) * f64::from(step) / f64::from(STEPS - 1);
        let fill = colour(palette::heat(value, (low, high), heat.is_diverging));
        let x = left + 60 + step as i32 * 6;
        area.draw(&Rectangle::new([(x, 18), (x + 6, 30)], fill.filled()))?;
    }
    write(area, &tick(&low), (left + 54, 24), label_style(HPos::Right))?;
    write(area, &tick(&high), (left + 66 + STEPS as i32 * 6, 24), label_style(HPos::Left))
}
