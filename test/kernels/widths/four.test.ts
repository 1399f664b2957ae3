import { testWidth } from './suite.ts';

testWidth(4);
