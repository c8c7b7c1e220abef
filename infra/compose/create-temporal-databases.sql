-- Run by the PostgreSQL image at its first start, as the superuser `tempera`.
create role temporal login password 'temporal';
create database temporal owner temporal;
create database temporal_visibility owner temporal;
