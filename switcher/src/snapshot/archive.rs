//! The table of contents of a dump, as `pg_restore --list` writes it. Pure.

/// How many tables it holds: entries such as `215; 1259 16389 TABLE public items app`.
pub(super) fn tables(list: &str) -> u64 {
    let is_table = |line: &&str| {
        let mut words = line.split_whitespace().skip(3);
        words.next() == Some("TABLE") && !matches!(words.next(), Some("DATA" | "ATTACH") | None)
    };
    list.lines().filter(|line| !line.starts_with(';')).filter(is_table).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_told_from_their_data_and_from_everything_else() {
        let list = ";\n; Archive created at 2026-11-21\n;     dbname: shop TABLE x y z\n;\n\
            215; 1259 16389 TABLE public items app\n\
            214; 1259 16388 SEQUENCE public items_id_seq app\n\
            3338; 0 0 SEQUENCE OWNED BY public items_id_seq app\n\
            217; 1259 16400 TABLE public orders app\n\
            3190; 0 0 TABLE ATTACH public orders_2026 app\n\
            3331; 0 16389 TABLE DATA public items app\n\
            3187; 2606 16396 CONSTRAINT public items items_pkey app\n";
        assert_eq!(tables(list), 2);
        assert_eq!(tables(""), 0);
    }
}
