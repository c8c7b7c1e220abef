let evaluated = 0;
export const useShared = (): number => ++evaluated;
