CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, kind INTEGER, price INTEGER);
CREATE TABLE sale (id INTEGER PRIMARY KEY, item INTEGER, day INTEGER, count INTEGER);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO item SELECT i, 'item ' || (i * 7919 % 20011), i % 37, i * 31 % 997 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000)
INSERT INTO sale SELECT i, i * 7907 % 20000 + 1, i * 13 % 365, i % 9 + 1 FROM n;
COMMIT;
CREATE INDEX sale_item ON sale (item, day);
SELECT kind, count(*), sum(price * count) FROM item JOIN sale ON sale.item = item.id GROUP BY kind ORDER BY 3 DESC;
SELECT day, total FROM (SELECT day, sum(count) AS total FROM sale GROUP BY day) WHERE total > 1600 ORDER BY total, day LIMIT 20;
UPDATE item SET price = price + (SELECT coalesce(sum(count), 0) FROM sale WHERE sale.item = item.id);
SELECT count(*) FROM item WHERE name LIKE '%99%' AND price > 500;
DELETE FROM sale WHERE day % 5 = 0;
SELECT name, price FROM item ORDER BY name DESC, price LIMIT 10;
SELECT count(*), sum(count) FROM sale;
